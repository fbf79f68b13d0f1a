"""Opens the products of a version from its files."""

from __future__ import annotations

import numpy as np

from retrieval_service.index import ProductIndex
from retrieval_service.lists.again import load_again
from retrieval_service.lists.rising import load_trained
from retrieval_service.live.products import Trained
from retrieval_service.query import Filter, Query
from retrieval_service.search.searches import Texts
from retrieval_service.settings import RetrievalSettings
from twotower.arrays import Float32
from twotower.artifact.catalogue import Catalogue, read_product_rows
from twotower.artifact.version import Version
from twotower.errors import CorruptArtifact
from twotower.events import Interaction
from twotower.graphs.text_encoder import EncoderSpec
from twotower.live.follower import Follower
from twotower.live.records import Position
from twotower.search.complements import ComplementTable, complement_files
from twotower.search.fused_score import FusedScore, fused_files
from twotower.search.vector_index import VectorIndex
from twotower.search.version_index import index_files, open_index
from twotower.search.word_index import WordIndex, word_files
from twotower.search.word_search import WordSearch, tie_breaker
from twotower.serving.drift import DriftCounter
from twotower.serving.wire import pack_history


def load(version: Version, settings: RetrievalSettings, follower: Follower | None = None) -> ProductIndex:
    """Opens the products of a version, checks its files against the manifest, and runs each kind of search once.

    With a `follower`, the products have all changes of the live catalogue, and get further ones.
    Raises CorruptArtifact if a file does not fit.
    """
    files, manifest = version.layout, version.manifest
    version.check(*index_files(version), files.ids, files.products, *fused_files(files, manifest.fusion))
    if version.nearest:
        version.check(version.nearest)
    rows, catalogue = read_product_rows(files.ids), Catalogue(files.products)
    columns = catalogue.columns()
    index = open_index(version, settings.milvus_address, columns=columns)
    if (index.size, index.dimension) != (manifest.products, manifest.dimension):
        raise CorruptArtifact(
            f"{manifest.index.collection or files.index} is {index.size} x {index.dimension}, the manifest says "
            f"{manifest.products} x {manifest.dimension}"
        )
    trained = Trained(version.name, Position.of(manifest), _reads_descriptions(version))
    score, texts, complements = FusedScore.load(version), _texts(version, catalogue), _complements(version)
    products = ProductIndex(index, score, texts, rows, catalogue, trained, complements)
    products.again = load_again(version, rows, columns.categories)
    products.rising = load_trained(version, rows, np.array(list(rows), np.object_))
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


def _texts(version: Version, catalogue: Catalogue) -> Texts:
    files, manifest = version.layout, version.manifest
    version.check(files.text_index, files.text_embeddings, *word_files(files))
    if version.nearest_texts:
        version.check(version.nearest_texts)
    spec = manifest.text_search.index
    index = VectorIndex.load(files.text_index, files.text_embeddings, spec, nearest=version.nearest_texts)
    if index.dimension != manifest.text_dimension:
        raise CorruptArtifact(
            f"{files.text_index} has {index.dimension} dimensions, the manifest says {manifest.text_dimension}"
        )
    weights, columns = manifest.text_search.words, catalogue.columns()
    ties = tie_breaker(weights, columns.popularity, columns.in_stock)
    words = WordSearch(index, WordIndex.load(files, manifest.products), weights, ties)
    found = manifest.text_search
    return Texts(index, words, found.noise, found.noise_with_words)


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
