"""Measures recall and time of search parameters, and chooses the fastest that reach the recall target."""

from __future__ import annotations

import time
from typing import NamedTuple

import faiss
import numpy as np

from twotower.arrays import Float32, Mask
from twotower.artifact.manifest import IndexStep
from twotower.search.vector_index import VectorIndex

# the recall target is for this many results
PROMISED = 100
# numbers of results to tune for: a short list, the promised 100, 100 without the buyer's history, filters and a large k
DEPTHS = (10, PROMISED, 200, 400, 1600)
# under a filter, the index is preferred to an exact scan if it takes less than this share of the scan's time
_FASTER_SHARE = 0.9
_TIMED_QUERIES = 100
# parameters with less recall than this are not timed
_MINIMUM_RECALL = 0.8
_NONE = np.empty(0, np.int64)


class SearchSpace(NamedTuple):
    """How a kind is built, and the values of its search parameter and the factors to tune among, by rising cost."""

    factory: str
    knob: str
    values: tuple[int, ...]
    factors: tuple[float, ...]


def tune(
    searcher: VectorIndex, queries: Float32, depth: int, space: SearchSpace, target: float, threads: int
) -> list[IndexStep]:
    """Measures one depth: for each parameter value the lowest factor that reaches the target, or the highest factor.

    Stops at the first value that is slower than a value that has reached the target.
    """
    faiss.omp_set_num_threads(threads)
    last = faiss.knn(queries, searcher.vectors, depth, faiss.METRIC_INNER_PRODUCT)[0][:, -1]
    curve: list[IndexStep] = []
    fastest = np.inf
    for value in space.values:
        step = IndexStep(depth=depth, parameter=value, factor=space.factors[-1], recall=0, microseconds=0)
        recalls = _recalls(searcher, queries, last, step, space.factors)
        if recalls[step.factor] < _MINIMUM_RECALL and value != space.values[-1]:
            continue
        enough = [factor for factor, recall in recalls.items() if recall >= target]
        step = step.model_copy(update={"factor": min(enough, default=step.factor)})
        micros = _microseconds(searcher.with_spec(searcher.spec.model_copy(update={"steps": [step]})), queries)
        curve.append(step.model_copy(update={"recall": recalls[step.factor], "microseconds": micros}))
        if micros > fastest:
            break
        fastest = micros if enough else fastest
    return curve


def _recalls(
    searcher: VectorIndex, queries: Float32, last: Float32, step: IndexStep, factors: tuple[float, ...]
) -> dict[float, float]:
    """Returns for each factor the share of the exact best `step.depth` rows that is among its candidates.

    `last` [Q] is the exact score of the last of these rows. A row with that score counts as one of them.
    """
    hits = dict.fromkeys(factors, 0)
    for query, lowest in zip(queries, last, strict=True):
        rows = searcher.candidates(query[None], step)[0]
        rows = rows[rows >= 0]
        good = np.cumsum(searcher.scores(query[None], rows[None])[0] >= lowest - 1e-6)
        for factor in factors:
            asked = min(searcher.fetched(step.depth, factor), len(good))
            hits[factor] += min(step.depth, int(good[asked - 1])) if asked else 0
    return {factor: count / (step.depth * len(queries)) for factor, count in hits.items()}


def _microseconds(searcher: VectorIndex, queries: Float32) -> float:
    """Returns the CPU time of a query at the depth of the only step, on one thread: the lowest of three means."""
    some, means, k = queries[:_TIMED_QUERIES], [], searcher.spec.steps[0].depth
    for _ in range(3):
        started = time.thread_time()
        for query in some:
            searcher.search(query[None], [k], [_NONE])
        means.append((time.thread_time() - started) / len(some) * 1e6)
    return round(min(means), 1)


def exact_rows(searcher: VectorIndex, queries: Float32, seed: int) -> int:
    """Returns the number of allowed rows up to which an exact scan for the best 100 is about as fast as the index.

    With few allowed rows the index gives up and scans too. Both then do the same work, so a difference within noise
    must not count: see `_FASTER_SHARE`.
    """
    draw, size = np.random.default_rng(seed), searcher.size
    for share in (0.5, 0.4, 0.3, 0.2, 0.15, 0.1, 0.05, 0.02, 0.01):
        allowed = draw.random(size) < share
        if _filtered(searcher, queries, allowed, 0) >= _FASTER_SHARE * _filtered(searcher, queries, allowed, size):
            return int(np.count_nonzero(allowed))
    return 0


def _filtered(searcher: VectorIndex, queries: Float32, allowed: Mask, exact_rows: int) -> float:
    """Returns the microseconds of a query for the best 100 allowed rows, the lowest of three means.

    Up to `exact_rows` allowed rows are scanned.
    """
    spec = searcher.spec.model_copy(update={"exact_rows": exact_rows})
    other = searcher.with_spec(spec)
    some, means = queries[:7], []
    for _ in range(3):
        started = time.thread_time()
        for query in some:
            other.search(query[None], [PROMISED], [_NONE], allowed)
        means.append((time.thread_time() - started) / len(some) * 1e6)
    return min(means)
