"""Exports the item tower and encodes the catalogue with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from trainer.cluster.parts import Part, open_engine
from trainer.config.schema import Config
from trainer.export import towers
from trainer.model.inputs import ItemFeatures
from trainer.model.towers import TwoTower
from trainer.progress import track
from twotower.arrays import Float32
from twotower.artifact.layout import VersionLayout
from twotower.graphs.towers import ItemTower
from twotower.search.vector_index import unit_rows

_CHUNK = 4096


def export_checked(model: TwoTower, features: ItemFeatures, files: VersionLayout, config: Config) -> float:
    """Exports the item tower to `files`, and returns its largest difference from torch on rows of the catalogue.

    Raises ParityError if the difference is above `encoder.parity_tolerance`.
    """
    count = len(features.product)
    towers.export_item_tower(model, files, features.text.shape[1])
    tower = ItemTower(files, config.thread_count)
    draw = np.random.default_rng(config.seed)
    rows = np.sort(draw.choice(count, min(count, config.encoder.parity_rows), replace=False))
    return towers.check_item_parity(model, tower, features, rows, config.encoder.parity_tolerance)


class CatalogueWorker:
    """Vectors of the products of one part, from the item tower exported to the folder `root`."""

    def __init__(self, root: str, threads: int) -> None:
        self._tower = ItemTower(VersionLayout(Path(root)), threads)

    def __call__(self, part: Part) -> Part:
        encoded = self._tower.encode(part["text"], part["brand"], part["category"], part["product"])
        # the graph normalises in float32; again in float64, so that every stored row has length 1 within 1e-7
        return {"vector": unit_rows(encoded)}


def encode_catalogue(files: VersionLayout, features: ItemFeatures, config: Config) -> Float32:
    """Encodes a catalogue with the item tower exported to `files`: vectors [N, model.dimension].

    A product without any known input has a vector of zeros.
    """
    count = len(features.product)
    columns = {name: getattr(features, name).numpy() for name in ("text", "brand", "category", "product")}
    starts = range(0, count, _CHUNK)
    parts = ({name: values[start : start + _CHUNK] for name, values in columns.items()} for start in starts)
    threads = 1 if config.ray else config.thread_count
    encoded = open_engine(config.ray).map(parts, CatalogueWorker, str(files.root.resolve()), threads)
    vectors = np.empty((count, config.model.dimension), np.float32)
    for start, part in zip(starts, track(encoded, "encoding products", "chunk", len(starts)), strict=True):
        vectors[start : start + _CHUNK] = part["vector"]
    return vectors
