"""What `index.kind: milvus` costs beside a flat index and FAISS's lists, with milvus-lite as the Milvus.

Usage:  python -m benchmarks.milvus [--products 10000] [--uri http://host:19530]

Synthetic unit vectors around centres, one query a call, in alternating rounds; times are wall time, because the work of
Milvus is done elsewhere. Without --uri it starts milvus-lite's server on this machine: Milvus's interface, written in
Python, so its times say nothing of a cluster. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from contextlib import nullcontext
from typing import NamedTuple

import faiss
import numpy as np

from tests.helpers.milvus_server import MilvusServer
from trainer.config.schema import Index
from trainer.index.build import build, item_queries
from trainer.index.milvus import write_collection
from twotower.arrays import Float32
from twotower.search.milvus import MilvusCollection, connect
from twotower.search.milvus_address import MilvusAddress
from twotower.search.vector_index import VectorIndex

K = 100
NONE = np.empty(0, np.int64)


class Names(NamedTuple):
    """What a collection holds beside the vectors."""

    ids: list[str]
    brands: list[str]
    categories: list[str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--products", type=int, default=10_000)
    parser.add_argument("--dimension", type=int, default=64)
    parser.add_argument("--queries", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--uri", default="", help="http(s)://host:port of a Milvus; empty starts milvus-lite")
    options = parser.parse_args()
    faiss.omp_set_num_threads(1)
    vectors = _vectors(options.products, options.dimension)
    queries = item_queries(vectors, 5, options.queries)
    with nullcontext() if options.uri else MilvusServer() as server:
        address = MilvusAddress(options.uri, timeout_seconds=60.0) if server is None else server.address
        started = time.perf_counter()
        names = Names([f"p{row}" for row in range(len(vectors))], [""] * len(vectors), [""] * len(vectors))
        spec = write_collection(vectors, names, queries, Index(kind="milvus", target_recall=0.99), address)
        seconds = {"milvus": time.perf_counter() - started}
        indexes = {"milvus": VectorIndex(MilvusCollection.open(address, spec), vectors, spec)}
        for kind in ("flat", "ivf"):
            started = time.perf_counter()
            made = build(vectors, queries, Index.model_validate({"kind": kind, "target_recall": 0.99}), 7, 1)
            seconds[kind] = time.perf_counter() - started
            indexes[kind] = VectorIndex(made.index, vectors, made.spec)
        rows = _measure(indexes, queries.vectors, options.rounds, seconds)
        connect(address).drop_collection(spec.collection)
    shape = {"products": len(vectors), "dimension": options.dimension, "k": K, "lite": not options.uri}
    print(json.dumps({"benchmark": "milvus", **shape, "rows": rows}))


def _vectors(products: int, dimension: int) -> Float32:
    draw = np.random.default_rng(7)
    centres = draw.normal(size=(max(3, products // 200), dimension))
    vectors = draw.normal(size=(products, dimension)) + centres[draw.integers(0, len(centres), products)]
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def _measure(
    indexes: dict[str, VectorIndex], queries: Float32, rounds: int, seconds: dict[str, float]
) -> list[dict[str, float | str]]:
    last = [hits.scores[-1] for hits in indexes["flat"].search(queries, [K] * len(queries), [NONE] * len(queries))]
    times: dict[str, list[float]] = {kind: [] for kind in indexes}
    recalls: dict[str, list[float]] = {kind: [] for kind in indexes}
    for _ in range(rounds):
        for kind, index in indexes.items():
            started = time.perf_counter()
            found = [index.search(query[None], [K], [NONE])[0] for query in queries]
            times[kind].append((time.perf_counter() - started) / len(queries) * 1000)
            hits = [float((one.scores >= least - 1e-6).mean()) for one, least in zip(found, last, strict=True)]
            recalls[kind].append(statistics.mean(hits))
    return [
        {
            "kind": kind,
            "recall": round(statistics.mean(recalls[kind]), 4),
            "milliseconds": round(statistics.median(times[kind]), 3),
            "times_flat": round(statistics.median(np.divide(times[kind], times["flat"])), 1),
            "build_seconds": round(seconds[kind], 1),
        }
        for kind in indexes
    ]


if __name__ == "__main__":
    main()
