"""Diverse lists by maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998)."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from twotower.arrays import Float32
from twotower.errors import InvalidInput
from twotower.merging import choose_diverse
from twotower.search.ranking import Hits

# candidates per product wanted, and their maximum: each one is compared with each product chosen
_CANDIDATES, _MAX_CANDIDATES = 4, 1000


class Vectors(Protocol):
    """The vectors that the rows of hits name."""

    def vector(self, row: int) -> Float32:
        """The vector [D] of a row."""


def check_diversity(diversity: float) -> None:
    """Raises InvalidInput if `diversity` is no number from 0 to 1."""
    if not 0 <= diversity <= 1:
        raise InvalidInput("diversity", diversity, "must be from 0 to 1")


def candidates(k: int, diversity: float) -> int:
    """How many of the best products a list of `k` is chosen from: `k` itself without diversity."""
    return max(k, min(_CANDIDATES * k, _MAX_CANDIDATES)) if diversity else k


def pool(hits: Hits, index: Vectors) -> Float32:
    """The vectors [M, D] of the hits."""
    return np.array([index.vector(row) for row in hits.rows.tolist()], np.float32)


def diversify(hits: Hits, index: Vectors, k: int, diversity: float) -> Hits:
    """Chooses `k` of an index's hits, as `choose_diverse` does; returns them in the order chosen, with their scores."""
    if not diversity or not len(hits.rows):
        return Hits(hits.rows[:k], hits.scores[:k])
    chosen = choose_diverse(hits.scores, pool(hits, index), k, diversity)
    return Hits(hits.rows[chosen], hits.scores[chosen])
