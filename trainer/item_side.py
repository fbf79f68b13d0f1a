"""A model's side of the products as services have it: the item tower's graph, the catalogue's vectors, the index."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np

from trainer import export as graphs
from trainer import index
from trainer.config.schema import Config
from trainer.model.inputs import ItemFeatures
from trainer.model.towers import TwoTower
from trainer.nearest import write_nearest
from trainer.progress import Say, track
from twotower.arrays import Float32
from twotower.artifact.manifest import IndexSpec
from twotower.graphs.towers import BuyerTower, ItemTower
from twotower.history import BuyerInputs
from twotower.search.vector_index import unit_rows

_CHUNK = 4096


class Folder(Protocol):
    """Where the files go: a run's folder, or a version's."""

    @property
    def embeddings(self) -> Path: ...
    @property
    def index(self) -> Path: ...
    @property
    def nearest(self) -> Path: ...


def export(model: TwoTower, features: ItemFeatures, path: Path, config: Config) -> tuple[ItemTower, float]:
    """The item tower as a graph at `path`, and its largest difference from torch on rows of the catalogue.

    ParityError where that is above `encoder.parity_tolerance`.
    """
    count = len(features.product)
    graphs.export_item_tower(model, path, features.text.shape[1])
    tower = ItemTower(path, config.thread_count)
    draw = np.random.default_rng(config.seed)
    rows = np.sort(draw.choice(count, min(count, config.encoder.parity_rows), replace=False))
    return tower, graphs.check_item_parity(model, tower, features, rows, config.encoder.parity_tolerance)


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


def buyer_queries(vectors: Float32, batch: BuyerInputs, tower: Path, threads: int) -> index.Queries:
    """What an index is tuned on: vectors of real histories, out of the exported buyer tower."""
    made = BuyerTower(tower, threads).encode(vectors[batch.rows], batch)
    return index.Queries(made, f"{len(made):,} buyer vectors of real histories")


def write_index(vectors: Float32, queries: index.Queries, folder: Folder, config: Config, say: Say) -> IndexSpec:
    """The index of `folder.embeddings`, of the configured kind and tuned on `queries`, and what services read of it."""
    built = index.build(vectors, queries, config.index, config.seed, config.thread_count, say)
    index.write(built, folder.index)
    folder.nearest.unlink(missing_ok=True)
    if index.is_small(built):
        write_nearest(folder.embeddings, folder.nearest)
    say(f"index: {index.told(built.spec)}, {len(vectors):,} x {vectors.shape[1]}")
    if nothing := len(vectors) - int(np.count_nonzero(vectors.any(axis=1))):
        lacks = "text, known brand, known category or event"
        say(f"warning: {nothing:,} of {len(vectors):,} products cannot be found: they have no {lacks}")
    return built.spec
