"""Complements by category, for products that too few baskets and sessions hold: cold products above all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import sparse

from trainer.config.schema import Together
from trainer.fit.together.groups import Shopping
from trainer.fit.together.pairs import log_likelihood_ratio
from trainer.fit.together.substitutes import Substitutes
from twotower.arrays import Float64, Int64

# candidates that a category has for each place: some are substitutes, and some are known complements already
_SPARE = 10


class CategoryComplements:
    """For each category [C], its candidates (rows, best first) and their scores."""

    def __init__(self, shopping: Shopping, category: Int64, shrinkage: float, settings: Together) -> None:
        """`category` [N]: the number of each product's category, -1 for none."""
        self._category = category
        self._lists = dict[int, tuple[Int64, Float64]]()
        if not (category >= 0).any():
            return
        lifts = _category_lifts(shopping, category, shrinkage, settings)
        popularity = _popularity(shopping, settings)
        count = _SPARE * settings.category_keep
        rows = np.flatnonzero((category >= 0) & (popularity > 0))
        for code in range(len(lifts)):
            # a random purchase of the other category, as often as the two categories go together
            scores = lifts[code, category[rows]] * popularity[rows]
            wanted = np.flatnonzero(scores > 0)
            order = wanted[np.lexsort((rows[wanted], -scores[wanted]))][:count]
            self._lists[code] = rows[order], scores[order]

    def best(self, product: int, known: Sequence[int], substitutes: Substitutes, count: int) -> tuple[Int64, Float64]:
        """Up to `count` rows with scores above 0 to 1: no substitute of the product, and none of the `known` rows."""
        rows, scores = self._lists.get(int(self._category[product]), (np.empty(0, np.int64), np.empty(0)))
        is_other = (rows != product) & ~np.isin(rows, np.asarray(known, np.int64))
        is_other &= ~substitutes.are_substitutes(np.full(len(rows), product), rows)
        chosen = np.flatnonzero(is_other)[:count]
        most = scores[chosen[0]] if len(chosen) else 1.0
        return rows[chosen], scores[chosen] / most


def _category_lifts(shopping: Shopping, category: Int64, shrinkage: float, settings: Together) -> Float64:
    """The shrunk lift of each pair of categories [C, C]; 0 for those that go together by chance, or less often."""
    size = int(category.max()) + 1
    placed = np.flatnonzero(category >= 0)
    of = sparse.csr_matrix((np.ones(len(placed)), (placed, category[placed])), shape=(len(category), size))
    seen = np.zeros((size, size))
    for groups, share in zip(shopping, (1.0, settings.session_weight), strict=True):
        counts = (groups.members @ of).tocsr()  # [G, C]
        weights = np.where(groups.sizes > 1, share * groups.weights(settings.size_power), 0.0)
        weighed = sparse.diags(weights) @ counts
        seen += (counts.T @ weighed).toarray()
        # a product is no pair with itself
        seen[np.diag_indices(size)] -= np.asarray(weighed.sum(axis=0)).ravel()
    margins, total = seen.sum(axis=1), seen.sum()
    if not total:
        return seen
    expected = np.outer(margins, margins) / total
    lifts = (seen + shrinkage) / (expected + shrinkage)
    ratio = log_likelihood_ratio(seen, margins[:, None], margins[None, :], total)
    return np.where((seen > expected) & (ratio >= settings.min_ratio), lifts, 0.0)


def _popularity(shopping: Shopping, settings: Together) -> Float64:
    """How many baskets hold each product [N]; sessions count with their weight."""
    shares = (1.0, settings.session_weight)
    counts = [share * np.asarray(one.members.sum(axis=0)).ravel() for one, share in zip(shopping, shares, strict=True)]
    return np.asarray(sum(counts), np.float64)
