"""Lists that do not show the same thing ten times: maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998)."""

from __future__ import annotations

import numpy as np

from twotower.errors import InvalidInput
from twotower.search.ranking import Hits
from twotower.search.vector_index import VectorIndex

# so many candidates for each product that is wanted, and no more than this, for each is compared with each one chosen
_CANDIDATES, _MOST_CANDIDATES = 4, 1000


def check_diversity(diversity: float) -> None:
    """InvalidInput where it is not a number from 0 to 1."""
    if not 0 <= diversity <= 1:
        raise InvalidInput("diversity", diversity, "must be from 0 to 1")


def candidates(k: int, diversity: float) -> int:
    """How many of the best products a list of `k` is chosen from."""
    return max(k, min(_CANDIDATES * k, _MOST_CANDIDATES)) if diversity else k


def diversify(hits: Hits, index: VectorIndex, k: int, diversity: float) -> Hits:
    """`k` of an index's hits, in the order in which they are chosen, with the scores that they had.

    The first is the best. Each further one has the highest (1 - diversity) x score - diversity x its largest inner
    product with any product chosen before; of equals the first. Takes time in proportion to k x the number of hits.
    """
    if not diversity or not len(hits.rows):
        return Hits(hits.rows[:k], hits.scores[:k])
    relevance = (1 - diversity) * hits.scores
    nearest = np.full(len(hits.rows), -np.inf, np.float32)
    chosen, best = list[int](), 0
    while True:
        chosen.append(best)
        if len(chosen) == min(k, len(hits.rows)):
            return Hits(hits.rows[chosen], hits.scores[chosen])
        relevance[best] = -np.inf
        # not by BLAS, whose threads wait for one another over so little
        alike = index.scores(index.vectors[hits.rows[best]][None], hits.rows[None])[0]  # [H]
        nearest = np.maximum(nearest, alike)
        best = int((relevance - diversity * nearest).argmax())
