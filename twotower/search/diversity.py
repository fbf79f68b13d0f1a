"""Diverse lists by maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998)."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from twotower.arrays import Float32, Int64
from twotower.caller import check_caller
from twotower.errors import InvalidInput
from twotower.search.ranking import Hits

# candidates per product wanted, and their maximum: each one is compared with each product chosen
_CANDIDATES, _MAX_CANDIDATES = 4, 1000


class Vectors(Protocol):
    """The vectors that the rows of hits name."""

    def vector(self, row: int) -> Float32:
        """The vector [D] of a row."""

    def scores(self, queries: Float32, rows: Int64) -> Float32:
        """Inner products [B, F] of queries [B, D] with their own rows [B, F]."""


def check_diversity(diversity: float) -> None:
    """Raises InvalidInput if `diversity` is no number from 0 to 1."""
    if not 0 <= diversity <= 1:
        raise InvalidInput("diversity", diversity, "must be from 0 to 1")


def candidates(k: int, diversity: float) -> int:
    """How many of the best products a list of `k` is chosen from: `k` itself without diversity."""
    return max(k, min(_CANDIDATES * k, _MAX_CANDIDATES)) if diversity else k


def diversify(hits: Hits, index: Vectors, k: int, diversity: float) -> Hits:
    """Chooses `k` of an index's hits; returns them in the order chosen, with their scores.

    The first is the best hit. Each next one has the highest (1 - diversity) x score - diversity x its largest inner
    product with any product chosen before; ties go to the better hit. A fused score may be above 1, which no inner
    product of unit vectors is: the scores are then divided by the best one. Takes O(k x number of hits) time, and ends
    with its caller.
    """
    if not diversity or not len(hits.rows):
        return Hits(hits.rows[:k], hits.scores[:k])
    relevance = (1 - diversity) * hits.scores / max(1.0, float(hits.scores[0]))
    nearest = np.full(len(hits.rows), -np.inf, np.float32)
    chosen, best = list[int](), 0
    while True:
        chosen.append(best)
        if len(chosen) == min(k, len(hits.rows)):
            return Hits(hits.rows[chosen], hits.scores[chosen])
        check_caller()
        relevance[best] = -np.inf
        # without BLAS, whose threads would wait for one another over so little work
        similarities = index.scores(index.vector(int(hits.rows[best]))[None], hits.rows[None])[0]  # [H]
        nearest = np.maximum(nearest, similarities)
        best = int((relevance - diversity * nearest).argmax())
