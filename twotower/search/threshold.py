"""The best rows of one query, found in lists without reading all rows.

The lists are the best rows by vector, the best by prior, and all rows to which the query's history adds something. They
are read deeper until no row outside of them can be better: the threshold algorithm (Fagin, Lotem and Naor, Optimal
aggregation algorithms for middleware, 2003).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from twotower.arrays import Float32, Int64, Mask
from twotower.search.ranking import Hits, best_first, inner_products, outside


@dataclass(frozen=True)
class Lists:
    """The lists of one query but the one by vector; no row of `excluded` (sorted) may be found.

    `neighbours`: allowed rows to which the history adds something, rising, and their whole scores. `by_prior`: all
    allowed rows, best prior first, the excluded ones too. `base` [N]: the weighted prior, None without one.
    """

    query: Float32
    vectors: Float32
    neighbours: Hits
    by_prior: Int64
    base: Float32 | None
    excluded: Int64

    def best(self, by_vector: Hits | None, k: int, depth: int) -> Hits | None:
        """The best `k` rows of the lists, read to `depth`; None if a row outside of them might be better.

        `by_vector`: the best `depth` allowed rows by inner product, fewer if there are no more; None if vectors have no
        weight. Without a prior, only the best `k` by vector can be better than all rows outside, so `depth` may be `k`.
        """
        base, found = self.base, [self.neighbours]
        if by_vector is not None:
            new = self._new(by_vector.rows)
            rows, scores = by_vector.rows[new], by_vector.scores[new]
            found.append(Hits(rows, scores if base is None else scores + base[rows]))
        if by_vector is None or base is not None:
            by_prior = self._first_by_prior(depth)
            found.append(self._score(by_prior[self._new(by_prior)], by_vector))
        best = _first(found, k)
        if base is None or by_vector is None or min(len(by_prior), len(by_vector.rows)) < depth:
            return best
        # a row outside of the lists has at most the last inner product of one and the last prior of the other
        limit = by_vector.scores[-1] + base[by_prior[-1]]
        return best if len(best.rows) == k and best.scores[-1] > limit else None

    def _new(self, rows: Int64) -> Mask:
        """True for rows that are no neighbours."""
        return outside(rows, self.neighbours.rows) if len(self.neighbours.rows) else np.ones(len(rows), np.bool_)

    def _first_by_prior(self, depth: int) -> Int64:
        rows = self.by_prior[: depth + len(self.excluded)]
        if len(self.excluded):
            rows = rows[outside(rows, self.excluded)]
        return rows[:depth]

    def _score(self, rows: Int64, by_vector: Hits | None) -> Hits:
        """Scores rows of the list by prior, less those that are among the best by vector."""
        if by_vector is not None and len(by_vector.rows):
            rows = rows[outside(rows, np.sort(by_vector.rows))]
        scores = np.zeros(len(rows), np.float32) if self.base is None else self.base[rows]
        if by_vector is not None:
            scores += inner_products(self.vectors, self.query[None], rows[None])[0]
        return Hits(rows, scores)


def _first(found: list[Hits], k: int) -> Hits:
    """The best `k` of different rows, equal scores in the order of the rows."""
    rows, scores = np.concatenate([one.rows for one in found]), np.concatenate([one.scores for one in found])
    if k < len(rows):
        kept = np.flatnonzero(scores >= np.partition(scores, -k)[-k])
        rows, scores = rows[kept], scores[kept]
    ordered, falling = best_first(rows[None], scores[None])
    return Hits(ordered[0, :k], falling[0, :k])
