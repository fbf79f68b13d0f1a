"""Calls of the retrieval service, and the answers that brute force gives."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from retrieval_service.query import Filter
from retrieval_service.search.searches import Texts
from tests.helpers.tiny_version import BRANDS, CATEGORIES, catalogue
from twotower.arrays import Float32
from twotower.artifact.catalogue import Product
from twotower.artifact.layout import Layout
from twotower.artifact.manifest import WordWeights
from twotower.artifact.version import Version, open_version
from twotower.pb import retrieval_pb2, retrieval_pb2_grpc
from twotower.search.vector_index import VectorIndex
from twotower.search.word_index import WordIndex
from twotower.search.word_search import WordSearch
from twotower.serving import wire
from twotower.serving.client import call

Stub = retrieval_pb2_grpc.RetrievalServiceStub
PRODUCTS = catalogue(40)
JEWELLERY, PERFUME, CARS, DATES = CATEGORIES


def opened(artifacts: Path, name: str = "tiny-a") -> Version:
    return open_version(Layout(artifacts), name)


def query(k: int = 10, excluded: Iterable[str] = (), **wanted: Any) -> retrieval_pb2.Query:
    return retrieval_pb2.Query(k=k, excluded_ids=excluded, filter=retrieval_pb2.Filter(**wanted) if wanted else None)


async def search(
    stub: Stub, vectors: Float32, *queries: retrieval_pb2.Query, version: str = "tiny-a"
) -> Sequence[retrieval_pb2.Hits]:
    request = retrieval_pb2.SearchRequest(vectors=wire.pack(vectors, version), queries=queries)
    answer = await call(stub.Search, request, 30, "retrieval service")
    assert answer.model_version == version
    return answer.hits


async def popular(stub: Stub, *queries: retrieval_pb2.Query) -> Sequence[retrieval_pb2.Hits]:
    return (await call(stub.Popular, retrieval_pb2.PopularRequest(queries=queries), 30, "retrieval service")).hits


def ranked(stored: Float32, vector: Float32, allowed: Iterable[Product], k: int) -> list[str]:
    scores = stored.astype(np.float64) @ vector
    return [one.id for one in sorted(allowed, key=lambda one: (-scores[one.row], one.row))][:k]


def passes(one: Product, wanted: Filter) -> bool:
    return (
        (not wanted.categories or one.category in wanted.categories)
        and (not wanted.brands or one.brand in wanted.brands)
        and (wanted.in_stock is None or one.in_stock == wanted.in_stock)
        and (wanted.price_min is None or (one.price is not None and one.price >= wanted.price_min))
        and (wanted.price_max is None or (one.price is not None and one.price <= wanted.price_max))
    )


def wordless(vectors: VectorIndex) -> Texts:
    """These vectors as those of the texts, without an index of words."""
    none = np.empty(0, np.int64)
    words = WordIndex(
        vectors.size,
        np.empty(0, np.uint8),
        np.zeros(1, np.int64),
        np.empty(0, np.float32),
        np.zeros(1, np.int64),
        none.astype(np.int32),
        none.astype(np.float32),
    )
    return Texts(vectors, WordSearch(vectors, words, WordWeights()), 0.0, 0.0)


FILTERS = [
    Filter(categories=(JEWELLERY,)),
    Filter(categories=(JEWELLERY, DATES)),
    Filter(brands=(BRANDS[1], BRANDS[2])),
    Filter(categories=(JEWELLERY, PERFUME), brands=(BRANDS[1],)),
    Filter(categories=(CARS,), in_stock=True),
    Filter(in_stock=False),
    Filter(categories=(JEWELLERY,), brands=(BRANDS[3],)),  # no such product
    Filter(categories=(DATES,), brands=(BRANDS[3],), in_stock=False),
    # prices are 10 + row, every eleventh product has none
    Filter(price_min=20.0),
    Filter(price_max=20.0),
    Filter(categories=(JEWELLERY, CARS), price_min=18.0, price_max=30.0),
]
