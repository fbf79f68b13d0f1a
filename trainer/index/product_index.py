"""Builds and writes the product index of a run or a version."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from trainer.config.schema import Config
from trainer.index import build
from trainer.index.milvus import Products, write_collection
from trainer.index.nearest_graph import write_nearest
from trainer.index.shards import write_shards
from twotower.arrays import Float32
from twotower.artifact.layout import VersionLayout
from twotower.artifact.manifest import IndexSpec
from twotower.graphs.towers import BuyerTower
from twotower.history import BuyerInputs
from twotower.search.milvus import KIND
from twotower.search.milvus_address import MilvusAddress

log = logging.getLogger(__name__)


def buyer_queries(vectors: Float32, batch: BuyerInputs, tower: Path, threads: int) -> build.Queries:
    """Encodes real histories with the exported buyer tower, as queries to tune the index with."""
    queries = BuyerTower(tower, threads).encode(vectors[batch.rows], batch)
    return build.Queries(queries, f"{len(queries):,} buyer vectors of real histories")


def write_index(
    vectors: Float32, queries: build.Queries, files: VersionLayout, config: Config, products: Products
) -> IndexSpec:
    """Builds the index of `vectors`, tuned with `queries`, and writes it to `files` or to Milvus.

    Returns its description.
    """
    if config.index.kind == KIND:
        files.index.unlink(missing_ok=True)
        files.nearest.unlink(missing_ok=True)
        spec = write_collection(vectors, products, queries, config.index, MilvusAddress.from_environment())
        log.info(f"index: {build.describe(spec)}, {len(vectors):,} x {vectors.shape[1]} in {spec.collection}")
        return spec
    built = build.build(vectors, queries, config.index, config.seed, config.thread_count)
    build.write(built, files.index)
    write_shards(built, vectors, config.index.shards, files.index_of, config.thread_count)
    files.nearest.unlink(missing_ok=True)
    if build.is_small(built):
        write_nearest(files.embeddings, files.nearest)
    log.info(f"index: {build.describe(built.spec)}, {len(vectors):,} x {vectors.shape[1]}")
    if empty := len(vectors) - int(np.count_nonzero(vectors.any(axis=1))):
        missing = "text, known brand, known category or event"
        log.warning(f"{empty:,} of {len(vectors):,} products cannot be found: they have no {missing}")
    return built.spec
