"""Opens the products of a version from its files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from retrieval_service.index import ProductIndex
from retrieval_service.lists.again import load_again
from retrieval_service.lists.rising import load_trained
from retrieval_service.live.products import Trained
from retrieval_service.query import Filter, Query
from retrieval_service.search.searches import Texts
from retrieval_service.settings import RetrievalSettings
from twotower.arrays import Float32
from twotower.artifact.catalogue import Catalogue, Columns, read_product_rows
from twotower.artifact.manifest import IndexSpec
from twotower.artifact.version import Version
from twotower.errors import CorruptArtifact
from twotower.events import Interaction
from twotower.graphs.text_encoder import EncoderSpec
from twotower.live.follower import Follower
from twotower.live.records import Position
from twotower.search.complements import ComplementTable, complement_files
from twotower.search.fused_score import FusedScore, fused_files
from twotower.search.vector_index import FLAT, VectorIndex
from twotower.search.version_index import index_files, open_index
from twotower.search.word_index import WordIndex, word_files
from twotower.search.word_search import WordSearch, tie_breaker
from twotower.serving.drift import DriftCounter
from twotower.serving.wire import pack_history
from twotower.sharding import WHOLE, Shard


def load(version: Version, settings: RetrievalSettings, follower: Follower | None = None) -> ProductIndex:
    """Opens the products of a version, checks its files against the manifest, and runs each kind of search once.

    With a `follower`, the products have all changes of the live catalogue, and get further ones.
    Raises CorruptArtifact if a file does not fit.
    """
    files, manifest, shard = version.layout, version.manifest, settings.shard
    check_shard(version, shard)
    version.check(files.embeddings, files.ids, files.products, *fused_files(files, manifest.fusion))
    rows, catalogue = read_product_rows(files.ids), Catalogue(files.products)
    columns = catalogue.columns()
    index = _index(version, settings, columns)
    if (index.size, index.dimension) != (manifest.products, manifest.dimension):
        raise CorruptArtifact(
            f"{manifest.index.collection or files.index} is {index.size} x {index.dimension}, the manifest says "
            f"{manifest.products} x {manifest.dimension}"
        )
    trained = Trained(version.name, Position.of(manifest), _reads_descriptions(version))
    score, texts, complements = FusedScore.load(version), _texts(version, catalogue, shard), _complements(version)
    products = ProductIndex(index, score, texts, rows, catalogue, trained, complements, shard)
    products.again = load_again(version, rows, columns.categories)
    products.rising = load_trained(version, rows, np.array(list(rows), np.object_))
    if shard == WHOLE:
        # the best score of a shard is not that of all products, which the training has figures of
        products.best_scores = DriftCounter(manifest, "best_score")
    _warm(version, products, np.array(index.vectors[:1]))
    if follower is not None:
        follower.attach(products.live)
    return products


def _reads_descriptions(version: Version) -> bool:
    if version.encoder.spec.name not in version.manifest.encoder_files:
        return True
    version.check(version.encoder.spec)
    return EncoderSpec.model_validate_json(version.encoder.spec.read_bytes()).template != "{title}"


def check_shard(version: Version, shard: Shard) -> None:
    """Raises CorruptArtifact if the version has no such shard."""
    if shard != WHOLE and shard.count != version.manifest.shards:
        raise CorruptArtifact(
            f"version {version.name} is for {version.manifest.shards} shards (index.shards of its training), this is "
            f"{shard}: set TWOTOWER_RETRIEVAL_SHARD_COUNT={version.manifest.shards}, or train with "
            f"index.shards={shard.count}"
        )
    if shard.count > version.manifest.products:
        raise CorruptArtifact(
            f"version {version.name} has {version.manifest.products} products, fewer than {shard.count} shards"
        )


def _index(version: Version, settings: RetrievalSettings, columns: Columns) -> VectorIndex:
    files, spec, nearest = version.layout, version.manifest.index, version.nearest
    if _is_in_parts(version, settings.shard, spec):
        return _parts_of(version, settings.shard, files.index_of, files.embeddings, spec)
    version.check(*index_files(version), *([nearest] if nearest else []))
    return open_index(version, settings.milvus_address, columns=columns)


def _text_index(version: Version, shard: Shard) -> VectorIndex:
    files, spec, nearest = version.layout, version.manifest.text_search.index, version.nearest_texts
    if _is_in_parts(version, shard, spec):
        return _parts_of(version, shard, files.text_index_of, files.text_embeddings, spec)
    version.check(files.text_index, *([nearest] if nearest else []))
    return VectorIndex.load(files.text_index, files.text_embeddings, spec, nearest=nearest)


def _is_in_parts(version: Version, shard: Shard, spec: IndexSpec) -> bool:
    """Whether a shard is asked for, or the whole answers as its shards do; a flat index does so in one piece."""
    return shard != WHOLE or (version.manifest.shards > 1 and spec.factory != FLAT.factory)


def _parts_of(
    version: Version, shard: Shard, path_of: Callable[[Shard], Path], embeddings: Path, spec: IndexSpec
) -> VectorIndex:
    """The index of a shard, or of all of them. A flat one is its vectors, and has no file."""
    size, count = version.manifest.products, version.manifest.shards
    if spec.factory == FLAT.factory:
        return VectorIndex.load_part(None, embeddings, spec, shard.rows(size))
    if shard != WHOLE:
        version.check(path_of(shard))
        return VectorIndex.load_part(path_of(shard), embeddings, spec, shard.rows(size))
    every = [Shard(number, count) for number in range(count)]
    paths = [path_of(one) for one in every]
    version.check(*paths)
    return VectorIndex.load_parts(paths, embeddings, spec, [one.rows(size) for one in every])


def _texts(version: Version, catalogue: Catalogue, shard: Shard) -> Texts:
    files, manifest = version.layout, version.manifest
    version.check(files.text_embeddings, *word_files(files))
    index = _text_index(version, shard)
    if index.dimension != manifest.text_dimension:
        raise CorruptArtifact(
            f"{files.text_index} has {index.dimension} dimensions, the manifest says {manifest.text_dimension}"
        )
    weights, columns = manifest.text_search.words, catalogue.columns()
    ties = tie_breaker(weights, columns.popularity, columns.in_stock)
    words = WordIndex.load(files, manifest.products)
    if shard != WHOLE:
        words = words.within(index.part)
    found = manifest.text_search
    return Texts(index, WordSearch(index, words, weights, ties), found.noise, found.noise_with_words)


def _complements(version: Version) -> ComplementTable | None:
    if not version.has_complements:
        return None
    version.check(*complement_files(version.layout))
    table = ComplementTable.load(version.layout)
    table.check(version.manifest.products)
    return table


def _warm(version: Version, products: ProductIndex, vectors: Float32) -> None:
    """Runs one search of each kind, and checks that the catalogue knows the most popular product."""
    plain, filtered = Query(10), Query(10, filter=Filter(in_stock=True))
    first = products.popular([plain])[0].product_ids[:1]
    event = next(iter(version.manifest.event_weights))
    history = Query(10, history=pack_history([Interaction(one, event, 0) for one in first]))
    for query in (plain, filtered, history):
        products.search(vectors, [query])
        products.search(vectors.repeat(2, axis=0), [query, query])
    if any(product is None for product in products.lookup(first)):
        raise CorruptArtifact(f"{version.layout.products} lacks {first[0]!r}, which product_ids.npy lists")
