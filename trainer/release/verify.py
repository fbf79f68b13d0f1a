"""Loads a version the way the services do, before it is published."""

from __future__ import annotations

import numpy as np

from trainer.errors import DataError
from twotower.arrays import Float64
from twotower.artifact.search_words import SearchWords
from twotower.artifact.version import Version, verify
from twotower.errors import CorruptArtifact
from twotower.graphs.query_encoder import load_query_encoder
from twotower.graphs.text_encoder import TextEncoder
from twotower.graphs.towers import BuyerPartsGraph, BuyerTower, ItemTower
from twotower.search.complements import ComplementTable
from twotower.search.fused import FusedSearch
from twotower.search.fused_score import FusedScore
from twotower.search.milvus_address import MilvusAddress
from twotower.search.vector_index import FLAT, VectorIndex
from twotower.search.version_index import open_index
from twotower.search.word_index import WordIndex
from twotower.search.word_search import WordSearch
from twotower.sharding import Shard

# products whose own vectors must find them
_SEARCHED = 50
_NONE = np.empty(0, np.int64)


def load_as_services_do(version: Version, threads: int) -> None:
    """Hashes every file and opens it as its service does.

    Raises CorruptArtifact if a file is damaged, DataError if the index misses products.
    """
    verify(version)
    files = version.layout
    opened = open_index(version, MilvusAddress.from_environment())
    FusedSearch(opened, FusedScore.load(version))
    if version.has_complements:
        ComplementTable.load(files).check(version.manifest.products)
    ItemTower(files, threads)
    BuyerTower(files.buyer_tower, threads)
    BuyerPartsGraph(files.buyer_parts, threads)
    load_query_encoder(version, TextEncoder.load(version.encoder, threads)).encode(["خاتم ذهب"])
    SearchWords.load(files.search_words)
    squares = _squares(opened, files.embeddings.name)
    text_index = version.manifest.text_search.index
    texts = VectorIndex.load(files.text_index, files.text_embeddings, text_index, nearest=version.nearest_texts)
    _squares(texts, files.text_embeddings.name)
    WordSearch(texts, WordIndex.load(files, version.manifest.products), version.manifest.text_search.words)
    _open_shards(version)
    # nothing finds a product with a vector of zeros
    some = np.array(opened.vectors[np.flatnonzero(squares)[:_SEARCHED]])
    best = [hits.scores[0] for hits in opened.search(some, [1] * len(some), [_NONE] * len(some))]
    count = int((np.abs(np.array(best) - 1) <= 1e-3).sum())
    # an approximate index may miss one
    if count < (1.0 if opened.is_exact else 0.9) * len(some):
        raise DataError(f"the index finds only {count} of the first {len(some)} products by their own vectors")


def _open_shards(version: Version) -> None:
    """Raises CorruptArtifact if the index of a shard does not hold its rows."""
    files, manifest = version.layout, version.manifest
    for number in range(manifest.shards if manifest.shards > 1 else 0):
        shard = Shard(number, manifest.shards)
        for path, embeddings, spec in (
            (files.index_of(shard), files.embeddings, manifest.index),
            (files.text_index_of(shard), files.text_embeddings, manifest.text_search.index),
        ):
            if spec.factory != FLAT.factory:
                version.check(path)
                VectorIndex.load_part(path, embeddings, spec, shard.rows(manifest.products))


def _squares(opened: VectorIndex, name: str) -> Float64:
    """The squared lengths [N] of an index's vectors. Raises CorruptArtifact if a number is not finite."""
    squares: Float64 = np.einsum("nd,nd->n", opened.vectors, opened.vectors, dtype=np.float64)
    wrong = np.flatnonzero(~np.isfinite(squares))
    if len(wrong):
        raise CorruptArtifact(f"{name} holds numbers that are not finite in {len(wrong):,} rows, first in {wrong[0]}")
    return squares
