"""Exports the towers and encodes the catalogue with the exported item tower."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from trainer.config.schema import Config
from trainer.export import towers
from trainer.model.inputs import ItemFeatures
from trainer.model.towers import TwoTower
from trainer.progress import track
from twotower.arrays import Float32
from twotower.graphs.towers import ItemTower
from twotower.search.vector_index import unit_rows

_CHUNK = 4096


def export(model: TwoTower, features: ItemFeatures, path: Path, config: Config) -> tuple[ItemTower, float]:
    """The item tower as a graph at `path`, and its largest difference from torch on rows of the catalogue.

    ParityError where that is above `encoder.parity_tolerance`.
    """
    count = len(features.product)
    towers.export_item_tower(model, path, features.text.shape[1])
    tower = ItemTower(path, config.thread_count)
    draw = np.random.default_rng(config.seed)
    rows = np.sort(draw.choice(count, min(count, config.encoder.parity_rows), replace=False))
    return tower, towers.check_item_parity(model, tower, features, rows, config.encoder.parity_tolerance)


def encode(tower: ItemTower, features: ItemFeatures, dimension: int) -> Float32:
    """Vectors [N, dimension] of a catalogue, through the graph: zero where nothing at all is known of a product."""
    count = len(features.product)
    vectors = np.empty((count, dimension), np.float32)
    for start in track(range(0, count, _CHUNK), "encoding products", unit="chunk"):
        part = slice(start, start + _CHUNK)
        made = tower.encode(*(column[part].numpy() for column in features[:4]))
        # the graph normalises in float32: once more in float64, so that every stored row has length 1 to 1e-7
        vectors[part] = unit_rows(made)
    return vectors
