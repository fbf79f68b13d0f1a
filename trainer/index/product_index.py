"""A model's side of the products as services have it: the item tower's graph, the catalogue's vectors, the index."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Protocol

import numpy as np

from trainer.config.schema import Config
from trainer.index import build
from trainer.index.nearest_graph import write_nearest
from twotower.arrays import Float32
from twotower.artifact.manifest import IndexSpec
from twotower.graphs.towers import BuyerTower
from twotower.history import BuyerInputs

log = logging.getLogger(__name__)


class Folder(Protocol):
    """Where the files go: a run's folder, or a version's."""

    @property
    def embeddings(self) -> Path: ...
    @property
    def index(self) -> Path: ...
    @property
    def nearest(self) -> Path: ...


def buyer_queries(vectors: Float32, batch: BuyerInputs, tower: Path, threads: int) -> build.Queries:
    """What an index is tuned on: vectors of real histories, out of the exported buyer tower."""
    made = BuyerTower(tower, threads).encode(vectors[batch.rows], batch)
    return build.Queries(made, f"{len(made):,} buyer vectors of real histories")


def write_index(vectors: Float32, queries: build.Queries, folder: Folder, config: Config) -> IndexSpec:
    """The index of `folder.embeddings`, of the configured kind and tuned on `queries`, and what services read of it."""
    built = build.build(vectors, queries, config.index, config.seed, config.thread_count)
    build.write(built, folder.index)
    folder.nearest.unlink(missing_ok=True)
    if build.is_small(built):
        write_nearest(folder.embeddings, folder.nearest)
    log.info(f"index: {build.told(built.spec)}, {len(vectors):,} x {vectors.shape[1]}")
    if nothing := len(vectors) - int(np.count_nonzero(vectors.any(axis=1))):
        lacks = "text, known brand, known category or event"
        log.warning(f"{nothing:,} of {len(vectors):,} products cannot be found: they have no {lacks}")
    return built.spec
