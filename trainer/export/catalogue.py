"""Exports the item tower and encodes the catalogue with it."""

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


def export_checked(model: TwoTower, features: ItemFeatures, path: Path, config: Config) -> tuple[ItemTower, float]:
    """Exports the item tower to `path`, and returns it with its largest difference from torch on catalogue rows.

    Raises ParityError if the difference is above `encoder.parity_tolerance`.
    """
    count = len(features.product)
    towers.export_item_tower(model, path, features.text.shape[1])
    tower = ItemTower(path, config.thread_count)
    draw = np.random.default_rng(config.seed)
    rows = np.sort(draw.choice(count, min(count, config.encoder.parity_rows), replace=False))
    return tower, towers.check_item_parity(model, tower, features, rows, config.encoder.parity_tolerance)


def encode_catalogue(tower: ItemTower, features: ItemFeatures, dimension: int) -> Float32:
    """Encodes a catalogue with the exported graph: vectors [N, dimension].

    A product without any known input has a vector of zeros.
    """
    count = len(features.product)
    vectors = np.empty((count, dimension), np.float32)
    for start in track(range(0, count, _CHUNK), "encoding products", unit="chunk"):
        part = slice(start, start + _CHUNK)
        encoded = tower.encode(*(column[part].numpy() for column in features[:4]))
        # the graph normalises in float32; again in float64, so that every stored row has length 1 within 1e-7
        vectors[part] = unit_rows(encoded)
    return vectors
