"""Writes the product vectors into a Milvus collection, tunes its search, and drops collections that nobody names."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Sequence
from typing import Any, Protocol

import faiss
import numpy as np

from trainer.config.schema import Index
from trainer.errors import DataError
from trainer.index import build
from trainer.index.tuning import DEPTHS, PROMISED
from twotower.arrays import Float32
from twotower.artifact.layout import Layout
from twotower.artifact.manifest import IndexSpec, IndexStep
from twotower.artifact.retention import list_versions
from twotower.artifact.version import open_version
from twotower.errors import CorruptArtifact, Unavailable
from twotower.search.milvus import KIND, ROW, VECTOR, MilvusCollection, ask, connect
from twotower.search.milvus_address import MilvusAddress
from twotower.search.vector_index import FLOATS_IN_A_MILLISECOND, VectorIndex

log = logging.getLogger(__name__)

_FACTORY, _EFFORTS = "Milvus HNSW32", (64, 128, 256, 512, 1024, 2048)
# each query crosses the network
_QUERIES, _TIMED = 50, 5
# a request to Milvus may hold 64 MiB; this many floats take 8
_FLOATS_AT_ONCE = 2_000_000
# of waiting for one request, and for the graph of the whole catalogue
_WRITE_SECONDS, _BUILD_SECONDS = 60.0, 3600.0
_NAME_BYTES, _ID_BYTES = 65_535, 128


class Products(Protocol):
    """The products [N] in the rows of the vectors: what a collection holds beside these."""

    @property
    def ids(self) -> Sequence[str]: ...

    @property
    def brands(self) -> Sequence[str]: ...

    @property
    def categories(self) -> Sequence[str]: ...


def write_collection(
    vectors: Float32, products: Products, queries: build.Queries, config: Index, address: MilvusAddress
) -> IndexSpec:
    """Writes `vectors` [N, D] with the products' ids, brands and categories, and tunes the search with `queries`.

    The collection's name is a digest of its content: a run that is repeated finds it and writes nothing. Raises
    DataError if the search misses `target_recall`, Unavailable if Milvus does not answer.
    """
    client, started = connect(address), time.perf_counter()
    name = _name(vectors, products)
    if _is_whole(client, address, name, len(vectors)):
        log.info(f"Milvus has the collection {name} already")
    else:
        _write(client, address, name, vectors, products)
    spec = IndexSpec(
        kind=KIND,
        factory=_FACTORY,
        knob="ef",
        collection=name,
        target_recall=config.target_recall,
        queries=queries.description,
        build_seconds=time.perf_counter() - started,
    )
    return _tuned(spec, vectors, queries.vectors[:_QUERIES], address)


def collections(layout: Layout) -> set[str]:
    """The collections that versions on disk name; a damaged version names none."""
    named = set[str]()
    for name in list_versions(layout):
        try:
            named.add(open_version(layout, name).manifest.index.collection)
        except CorruptArtifact as error:
            log.info(f"{error}; its collection in Milvus, if it has one, stays")
    return named - {""}


def drop_unnamed(layout: Layout, before: set[str], address: MilvusAddress) -> None:
    """Drops the collections `before` that no version names any more; logs those that Milvus did not drop."""
    left = sorted(before - collections(layout))
    if not left:
        return
    try:
        client = connect(address)
        for name in left:
            ask(address, lambda name=name: client.drop_collection(name, timeout=_WRITE_SECONDS))  # type: ignore[misc]
            log.info(f"removed the collection {name}")
    except Unavailable as error:
        log.warning(f"{error}; no version names these collections, drop them by hand: {', '.join(left)}")


def _name(vectors: Float32, products: Products) -> str:
    digest = hashlib.sha256(f"{_FACTORY} {vectors.shape}".encode())
    digest.update(np.ascontiguousarray(vectors).data)
    for column in (products.ids, products.brands, products.categories):
        digest.update("\0".join(column).encode() + b"\1")
    return f"twotower_{digest.hexdigest()[:32]}"


def _is_whole(client: Any, address: MilvusAddress, name: str, rows: int) -> bool:
    """Whether the collection is there with all rows; removes what a killed run has left of it."""
    if not ask(address, lambda: client.has_collection(name)):
        return False
    try:
        opened = MilvusCollection.open(address, IndexSpec(kind=KIND, collection=name))
        if opened.ntotal == rows:
            return True
    except (CorruptArtifact, Unavailable) as error:
        # a collection without an index cannot be loaded
        log.info(f"the collection {name} is incomplete: {error}")
    ask(address, lambda: client.drop_collection(name))
    return False


def _write(client: Any, address: MilvusAddress, name: str, vectors: Float32, products: Products) -> None:
    from pymilvus import DataType

    schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field(ROW, DataType.INT64, is_primary=True)
    schema.add_field("product_id", DataType.VARCHAR, max_length=_ID_BYTES)
    for field in ("brand", "category"):
        schema.add_field(field, DataType.INT64)
        schema.add_field(f"{field}_name", DataType.VARCHAR, max_length=_NAME_BYTES)
    schema.add_field(VECTOR, DataType.FLOAT_VECTOR, dim=vectors.shape[1])
    ask(address, lambda: client.create_collection(name, schema=schema, timeout=_WRITE_SECONDS))
    brands, categories = _codes(products.brands), _codes(products.categories)
    step = max(1, _FLOATS_AT_ONCE // vectors.shape[1])
    for start in range(0, len(vectors), step):
        rows = [
            {
                ROW: row,
                "product_id": products.ids[row],
                "brand": brands[row],
                "brand_name": products.brands[row],
                "category": categories[row],
                "category_name": products.categories[row],
                VECTOR: vectors[row],
            }
            for row in range(start, min(start + step, len(vectors)))
        ]
        ask(address, lambda rows=rows: client.insert(name, rows, timeout=_WRITE_SECONDS))  # type: ignore[misc]
    ask(address, lambda: client.flush(name, timeout=_BUILD_SECONDS))
    graph = client.prepare_index_params()
    graph.add_index(VECTOR, index_type="HNSW", metric_type="IP", params={"M": 32, "efConstruction": 100})
    ask(address, lambda: client.create_index(name, graph, timeout=_BUILD_SECONDS))
    ask(address, lambda: client.load_collection(name, timeout=_BUILD_SECONDS))


def _codes(names: Sequence[str]) -> list[int]:
    """The place of each name among the sorted ones, as `Catalogue.columns` counts them."""
    places = {name: place for place, name in enumerate(sorted(set(names)))}
    return [places[name] for name in names]


def _tuned(spec: IndexSpec, vectors: Float32, queries: Float32, address: MilvusAddress) -> IndexSpec:
    """The spec with the lowest `ef` for each depth that reaches the target."""
    searcher = VectorIndex(MilvusCollection.open(address, spec), vectors, spec)
    steps, curve = list[IndexStep](), list[IndexStep]()
    for depth in sorted({min(depth, len(vectors)) for depth in DEPTHS}):
        last = faiss.knn(queries, vectors, depth, faiss.METRIC_INNER_PRODUCT)[0][:, -1]
        for value in _EFFORTS:
            curve.append(_measured(searcher, queries, last, depth, value))
            if curve[-1].recall >= spec.target_recall:
                steps.append(curve[-1])
                break
        else:
            break
    promised = min(PROMISED, len(vectors))
    if not any(step.depth == promised for step in steps):
        best = max(step.recall for step in curve)
        raise DataError(
            f"index.kind={KIND} finds at most {best:.4f} of the {promised} nearest products, index.target_recall is "
            f"{spec.target_recall}; choose another kind or a lower target"
        )
    # a filter that allows so few rows that they are scanned in the time of one query is not for Milvus
    milliseconds = next(step.microseconds for step in steps if step.depth == promised) / 1000
    rows = min(len(vectors), int(milliseconds * FLOATS_IN_A_MILLISECOND / vectors.shape[1]))
    return spec.model_copy(update={"steps": steps, "curve": curve, "exact_rows": rows})


def _measured(searcher: VectorIndex, queries: Float32, last: Float32, depth: int, effort: int) -> IndexStep:
    """One step: the recall of all queries in one call, and the time of one of them. `last` [Q]: their lowest score."""
    step = IndexStep(depth=depth, parameter=effort, factor=1.0, recall=0, microseconds=0)
    rows = searcher.candidates(queries, step)
    scores = np.where(rows >= 0, searcher.scores(queries, rows), -np.inf)
    # a row with the score of the last one counts as one of the best
    hits = np.minimum((scores >= last[:, None] - 1e-6).sum(axis=1), depth)
    started = time.perf_counter()
    for query in queries[:_TIMED]:
        searcher.candidates(query[None], step)
    microseconds = (time.perf_counter() - started) / min(_TIMED, len(queries)) * 1e6
    return step.model_copy(update={"recall": float(hits.mean() / depth), "microseconds": round(microseconds, 1)})
