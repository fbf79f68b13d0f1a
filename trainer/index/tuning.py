"""Measures recall and time of each way to search an index, and picks the cheapest that reaches the target."""

from __future__ import annotations

import time
from typing import NamedTuple

import faiss
import numpy as np
from numpy.typing import NDArray

from twotower.arrays import Float32
from twotower.artifact.manifest import IndexStep
from twotower.search.vector_index import VectorIndex

# rows that a search is tuned to find: recall@100 is what is promised, the others serve a short list, a hundred without
# the buyer's history, and filters and a large k
PROMISED = 100


DEPTHS = (10, PROMISED, 200, 400, 1600)


# an index under a filter must take less than this share of an exact scan's time to be preferred to it
_AS_QUICK = 0.9


_TIMED = 100


# a way that finds less than this is not worth its timing
_TOO_LITTLE = 0.8


_NONE = np.empty(0, np.int64)


class Way(NamedTuple):
    """How a kind is built, and among what its search is tuned: values of the parameter and factors, by rising cost."""

    factory: str
    knob: str
    values: tuple[int, ...]
    factors: tuple[float, ...]


def tune(searcher: VectorIndex, queries: Float32, depth: int, way: Way, target: float, threads: int) -> list[IndexStep]:
    """The curve of one depth: for each parameter the least factor that reaches the target, or the largest, with its
    recall and time; until more of the parameter costs more than it saves."""
    faiss.omp_set_num_threads(threads)
    last = faiss.knn(queries, searcher.vectors, depth, faiss.METRIC_INNER_PRODUCT)[0][:, -1]
    curve: list[IndexStep] = []
    quickest = np.inf
    for value in way.values:
        step = IndexStep(depth=depth, parameter=value, factor=way.factors[-1], recall=0, microseconds=0)
        recalls = _recalls(searcher, queries, last, step, way.factors)
        if recalls[step.factor] < _TOO_LITTLE and value != way.values[-1]:
            continue
        enough = [factor for factor, recall in recalls.items() if recall >= target]
        step = step.model_copy(update={"factor": min(enough, default=step.factor)})
        micros = _microseconds(searcher.with_spec(searcher.spec.model_copy(update={"steps": [step]})), queries)
        curve.append(step.model_copy(update={"recall": recalls[step.factor], "microseconds": micros}))
        if micros > quickest:
            break
        quickest = micros if enough else quickest
    return curve


def _recalls(
    searcher: VectorIndex, queries: Float32, last: Float32, step: IndexStep, factors: tuple[float, ...]
) -> dict[float, float]:
    """The share of the true best `step.depth` that lies among the candidates of each factor.

    `last` [Q] is the exact score of the last of the true best: what scores as much is one of them, or as good.
    """
    hits = dict.fromkeys(factors, 0)
    for query, least in zip(queries, last, strict=True):
        rows = searcher.candidates(query[None], step)[0]
        rows = rows[rows >= 0]
        good = np.cumsum(searcher.scores(query[None], rows[None])[0] >= least - 1e-6)
        for factor in factors:
            asked = min(searcher.fetched(step.depth, factor), len(good))
            hits[factor] += min(step.depth, int(good[asked - 1])) if asked else 0
    return {factor: found / (step.depth * len(queries)) for factor, found in hits.items()}


def _microseconds(searcher: VectorIndex, queries: Float32) -> float:
    """Time of a single query for as many as the only step finds, on one thread, the least of three means: that of the
    thread, not of who else runs."""
    some, means, k = queries[:_TIMED], [], searcher.spec.steps[0].depth
    for _ in range(3):
        started = time.thread_time()
        for query in some:
            searcher.search(query[None], [k], [_NONE])
        means.append((time.thread_time() - started) / len(some) * 1e6)
    return round(min(means), 1)


def exact_rows(searcher: VectorIndex, queries: Float32, seed: int) -> int:
    """Up to how many allowed rows an exact scan for the best 100 costs little more than the index under that filter.

    Where so few are allowed that the index gives up, it scans as well: both times are of the same work then, and must
    not be told apart by noise.
    """
    draw, size = np.random.default_rng(seed), searcher.size
    for share in (0.5, 0.4, 0.3, 0.2, 0.15, 0.1, 0.05, 0.02, 0.01):
        allowed = draw.random(size) < share
        if _filtered(searcher, queries, allowed, 0) >= _AS_QUICK * _filtered(searcher, queries, allowed, size):
            return int(np.count_nonzero(allowed))
    return 0


def _filtered(searcher: VectorIndex, queries: Float32, allowed: NDArray[np.bool_], exact_rows: int) -> float:
    """Microseconds of a query for the best 100 of the allowed rows, where up to `exact_rows` are scanned: the least of
    three means."""
    spec = searcher.spec.model_copy(update={"exact_rows": exact_rows})
    other = searcher.with_spec(spec)
    some, means = queries[:7], []
    for _ in range(3):
        started = time.thread_time()
        for query in some:
            other.search(query[None], [PROMISED], [_NONE], allowed)
        means.append((time.thread_time() - started) / len(some) * 1e6)
    return min(means)
