"""Compares the trainer's index with a flat index, hnswlib and usearch: recall, speed, build time, memory, filters.

Usage:  make bench-index [ARGS="--products 100000 --kinds auto compact"]
        make bench-index ARGS="--vectors product_embeddings.npy --queries buyers.npy"

Without files the vectors are synthetic: unit vectors around random centres (`--products`, one centre for every 200).
Each query is the mean of 50 vectors around three centres, like a buyer's vector. Clustered vectors favour an index with
lists; use --vectors and --queries for trained ones.

Each index answers one query at a time on one thread. Times are CPU time of that thread, so other processes matter
little. Indexes are measured in interleaved rounds, with the ratio to the flat index of the same round. Each is tuned to
the same recall@100 (`--recall`): ours by its build, the others by the lowest ef that reaches it. Our search includes
the exact scores of the results, as in the service; the others are measured as the library returns them.
The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import faiss
import hnswlib
import numpy as np
from usearch.index import Index as USearch

from benchmarks.charts import open_pyplot, save_figure
from trainer.config.loading import load_config
from trainer.index.build import Queries, build, describe, train_index
from twotower.arrays import Float32, Int64, Mask
from twotower.search.vector_index import VectorIndex

K = 100
EFS = (100, 150, 200, 300, 400, 600, 800, 1200, 1600, 2400)
SHARES = (0.01, 0.1, 0.5)
FLAT = "flat (FAISS, exact)"
NONE = np.empty(0, np.int64)
Search = Callable[[Float32], Int64]


class Candidate(NamedTuple):
    """One index: its search for 100 rows, and its cost. `filtered` searches the rows of a mask only."""

    search: Search
    build_seconds: float
    bytes_per_vector: float
    curve: list[tuple[float, float]]
    filtered: Callable[[Float32, Mask], Int64] | None = None
    note: str = ""


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--products", type=int, default=100_000)
    parser.add_argument("--dimension", type=int, default=384)
    parser.add_argument("--vectors", type=Path, help="product vectors, a .npy file of float32 [N, D]")
    parser.add_argument("--queries", type=Path, help="query vectors, a .npy file of float32 [Q, D]")
    parser.add_argument("--kinds", nargs="+", default=["auto", "compact"], help="values of index.kind")
    parser.add_argument("--recall", type=float, default=0.99)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--timed", type=int, default=100, help="queries in each round")
    parser.add_argument("--skip", nargs="*", default=[], choices=["hnswlib", "usearch"])
    parser.add_argument("--svg", type=Path, help="file for a chart of recall against speed")
    options = parser.parse_args()
    if (options.vectors is None) != (options.queries is None):
        parser.error("--vectors and --queries must be given together")
    faiss.omp_set_num_threads(1)
    vectors, queries = _given(options) if options.vectors else _synthetic(options.products, options.dimension)
    last = faiss.knn(queries, vectors, K, faiss.METRIC_INNER_PRODUCT)[0][:, -1]
    candidates = {FLAT: _flat(vectors)}
    for kind in options.kinds:
        candidates |= _ours(kind, vectors, queries, options.recall)
    for name, make in (("hnswlib", _hnswlib), ("usearch", _usearch)):
        if name not in options.skip:
            candidates[name] = make(vectors, queries, last, options.recall)
    rows = _measure(candidates, vectors, queries, last, options)
    if options.svg:
        _draw(rows, options.svg)
    what = str(options.vectors.name) if options.vectors else "synthetic"
    shape = {"vectors": what, "products": len(vectors), "dimension": vectors.shape[1], "queries": len(queries)}
    print(json.dumps({"benchmark": "index", **shape, "k": K, "target_recall": options.recall, "rows": rows}))


def _given(options: argparse.Namespace) -> tuple[Float32, Float32]:
    vectors, queries = (np.ascontiguousarray(np.load(path), np.float32) for path in (options.vectors, options.queries))
    if vectors.shape[1] != queries.shape[1]:
        raise SystemExit(
            f"the vectors have {vectors.shape[1]} dimensions, the queries {queries.shape[1]}: they must be equal"
        )
    return vectors, queries


def _synthetic(products: int, dimension: int, seed: int = 7) -> tuple[Float32, Float32]:
    draw = np.random.default_rng(seed)
    centres = draw.normal(size=(max(3, products // 200), dimension)).astype(np.float32)
    centre_of = draw.integers(0, len(centres), products)
    vectors = np.empty((products, dimension), np.float32)
    for start in range(0, products, 65_536):
        part = slice(start, start + 65_536)
        noise = draw.standard_normal((len(centre_of[part]), dimension), np.float32)
        vectors[part] = noise + centres[centre_of[part]]
        vectors[part] /= np.linalg.norm(vectors[part], axis=1, keepdims=True)
    order = np.argsort(centre_of, kind="stable")
    starts = np.searchsorted(centre_of[order], np.arange(len(centres) + 1))
    queries = np.empty((500, dimension), np.float32)
    for row in range(len(queries)):
        around = draw.choice(np.flatnonzero(np.diff(starts)), 3)
        pool = np.concatenate([order[starts[one] : starts[one + 1]] for one in around])
        queries[row] = vectors[draw.choice(pool, 50)].mean(axis=0)
    return vectors, queries / np.linalg.norm(queries, axis=1, keepdims=True)


def _flat(vectors: Float32) -> Candidate:
    index = faiss.IndexFlatIP(vectors.shape[1])
    started = time.process_time()
    index.add(vectors)
    seconds = time.process_time() - started

    def filtered(query: Float32, mask: Mask) -> Int64:
        chosen = faiss.IDSelectorBitmap(np.packbits(mask, bitorder="little"))  # type: ignore[call-arg, arg-type]
        settings = faiss.SearchParameters(sel=chosen)  # type: ignore[call-arg]
        rows: Int64 = index.search(query[None], K, params=settings)[1][0]
        return rows

    return Candidate(lambda query: index.search(query[None], K)[1][0], seconds, 4 * vectors.shape[1], [], filtered)


def _ours(kind: str, vectors: Float32, queries: Float32, recall: float) -> dict[str, Candidate]:
    config = load_config([], [f"index.kind={kind}", f"index.target_recall={recall}"]).index
    built = build(vectors, Queries(queries, "queries of the benchmark"), config, 7, 1)
    spec, searcher = built.spec, VectorIndex(built.index, vectors, built.spec)
    note = describe(spec)
    print(f"ours, {kind}: {note}; exact scan up to {spec.exact_rows:,} allowed rows", flush=True)
    curve = [(one.recall, 1e6 / one.microseconds) for one in spec.curve if one.depth == K]

    def search(query: Float32, mask: Mask | None = None) -> Int64:
        return searcher.search(query[None], [K], [NONE], mask)[0].rows

    started = time.process_time()
    train_index(spec.factory, vectors, 7)
    seconds = time.process_time() - started
    size = spec.bytes_per_vector or 0.0
    return {f"ours, {kind} ({spec.factory})": Candidate(search, seconds, size, curve, search, note)}


def _hnswlib(vectors: Float32, queries: Float32, last: Float32, recall: float) -> Candidate:
    index = hnswlib.Index("ip", vectors.shape[1])
    index.init_index(len(vectors), ef_construction=200, M=16, random_seed=7)
    index.set_num_threads(1)
    started = time.process_time()
    index.add_items(vectors, num_threads=1)
    seconds = time.process_time() - started

    def search(query: Float32) -> Int64:
        return index.knn_query(query, K, num_threads=1)[0][0].astype(np.int64)

    def filtered(query: Float32, mask: Mask) -> Int64:
        try:
            rows = index.knn_query(query, K, num_threads=1, filter=lambda row: bool(mask[row]))[0][0]
        except RuntimeError:  # hnswlib has found fewer than 100
            return NONE
        return rows.astype(np.int64)

    ef, curve = _tuned(index.set_ef, search, vectors, queries, last, recall)
    # a vector, 2 x M links at the lowest level, and a label
    size, note = 4 * vectors.shape[1] + 4 * 33 + 8, f"M=16, ef_construction=200, ef={ef}"
    return Candidate(search, seconds, size, curve, filtered, note)


def _usearch(vectors: Float32, queries: Float32, last: Float32, recall: float) -> Candidate:
    index: Any = USearch(ndim=vectors.shape[1], metric="ip", dtype="f32", connectivity=16, expansion_add=128)
    started = time.process_time()
    index.add(np.arange(len(vectors)), vectors, threads=1)
    seconds = time.process_time() - started

    def search(query: Float32) -> Int64:
        rows: Int64 = index.search(query, K, threads=1).keys.astype(np.int64)
        return rows

    def set_ef(ef: int) -> None:
        index.expansion_search = ef

    ef, curve = _tuned(set_ef, search, vectors, queries, last, recall)
    size = index.memory_usage / len(vectors)
    return Candidate(search, seconds, size, curve, None, f"connectivity=16, expansion_add=128, expansion_search={ef}")


def _tuned(
    set_ef: Callable[[int], None], search: Search, vectors: Float32, queries: Float32, last: Float32, recall: float
) -> tuple[int, list[tuple[float, float]]]:
    """Sets the first ef that reaches the recall; returns it, and the curve (recall, queries a second) up to it."""
    curve = []
    for ef in EFS:
        set_ef(ef)
        reached = _recall(search, vectors, queries, last)
        curve.append((reached, len(queries[:K]) / _seconds(search, queries[:K])))
        if reached >= recall:
            break
    return ef, curve


def _recall(search: Search, vectors: Float32, queries: Float32, last: Float32) -> float:
    """Returns the share of the exact best rows among the results. A row with the last of their scores counts too."""
    hits = [
        int((vectors[search(query)] @ query >= lowest - 1e-6).sum())
        for query, lowest in zip(queries, last, strict=True)
    ]
    return float(np.minimum(hits, K).mean() / K)


def _seconds(search: Search, queries: Float32) -> float:
    started = time.thread_time()
    for query in queries:
        search(query)
    return time.thread_time() - started


def _measure(
    candidates: dict[str, Candidate], vectors: Float32, queries: Float32, last: Float32, options: argparse.Namespace
) -> list[dict[str, Any]]:
    some = queries[: options.timed]
    rounds: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(options.rounds):
        for name, candidate in candidates.items():
            rounds[name].append(_seconds(candidate.search, some) / len(some))
    masks = {share: np.random.default_rng(3).random(len(vectors)) < share for share in SHARES}
    print(f"{'index':<42}{'recall':>8}{'us':>9}{'x flat':>8}  {'spread':<14}{'build s':>8}{'B/vector':>9}  filtered")
    rows: list[dict[str, Any]] = []
    for name, candidate in candidates.items():
        ratios = [base / one for one, base in zip(rounds[name], rounds[FLAT], strict=True)]
        row: dict[str, Any] = {
            "index": name,
            "note": candidate.note,
            "recall": _recall(candidate.search, vectors, queries, last),
            "microseconds": statistics.median(rounds[name]) * 1e6,
            "times_flat": statistics.median(ratios),
            "lowest": min(ratios),
            "highest": max(ratios),
            "build_seconds": candidate.build_seconds,
            "bytes_per_vector": candidate.bytes_per_vector,
            "filtered": {str(share): _filtered(candidate, vectors, some[:30], mask) for share, mask in masks.items()},
            "curve": candidate.curve,
        }
        rows.append(row)
        shown = "  ".join(
            f"{float(share):.0%} {one['recall']:.3f} {one['microseconds']:.0f} us"
            for share, one in row["filtered"].items()
            if one
        )
        spread, size = f"{min(ratios):.1f} to {max(ratios):.1f}", candidate.bytes_per_vector
        print(
            f"{name:<42}{row['recall']:>8.4f}{row['microseconds']:>9.0f}{row['times_flat']:>8.1f}  "
            f"{spread:<14}{candidate.build_seconds:>8.1f}{size:>9.0f}  {shown}",
            flush=True,
        )
    return rows


def _filtered(candidate: Candidate, vectors: Float32, queries: Float32, mask: Mask) -> dict[str, float] | None:
    """Returns recall and time of a search among the rows of `mask`."""
    search = candidate.filtered
    if search is None:
        return None
    allowed = np.flatnonzero(mask)
    wanted = min(K, len(allowed))
    lowest = [np.sort(vectors[allowed] @ query)[-wanted] for query in queries]
    hits = []
    started = time.thread_time()
    results = [search(query, mask) for query in queries]
    seconds = time.thread_time() - started
    for query, one, last in zip(queries, results, lowest, strict=True):
        one = one[one >= 0]
        hits.append(min(wanted, int((vectors[one[mask[one]]] @ query >= last - 1e-6).sum())) / wanted)
    return {"recall": float(np.mean(hits)), "microseconds": seconds / len(queries) * 1e6}


def _draw(rows: list[dict[str, Any]], path: Path) -> None:
    figure, axes = open_pyplot().subplots(figsize=(7, 4.5))
    for row in rows:
        curve = row["curve"] or [(row["recall"], 1e6 / row["microseconds"])]
        axes.plot(*zip(*sorted(curve), strict=True), marker="o", markersize=4, label=str(row["index"]))
    axes.set_yscale("log")
    axes.set_xlim(0.9, 1.002)
    axes.set_xlabel(f"recall@{K}")
    axes.set_ylabel("queries a second, one thread")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    save_figure(figure, path)


if __name__ == "__main__":
    main()
