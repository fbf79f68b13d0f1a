"""Fits the table of complements: significant pairs without substitutes, then complements by category."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import sparse

from trainer.config.schema import Together
from trainer.data.matrix import keep_largest
from trainer.fit.together.carts import cart_weights, upper_gram
from trainer.fit.together.categories import CategoryComplements
from trainer.fit.together.groups import Shopping
from trainer.fit.together.pairs import significant_pairs
from trainer.fit.together.substitutes import Substitutes
from twotower.arrays import Int64
from twotower.search.complements import ComplementTable

# what a complement by category weighs in a cart: it comes after all that are known of the products themselves
_BY_CATEGORY = 1e-4
# products whose lists are put together at once
_PRODUCTS = 16_384


class Strength(NamedTuple):
    """What validation chooses: how far lifts are drawn towards 1, and the ridge of the weights of carts."""

    shrinkage: float
    ridge: float


class TableFitter:
    """Fits tables of one training set with different strengths; pairs are counted once."""

    def __init__(self, shopping: Shopping, substitutes: Substitutes, settings: Together) -> None:
        self._shopping, self._substitutes, self._settings = shopping, substitutes, settings
        pairs = significant_pairs(shopping, settings)
        is_substitute = substitutes.are_substitutes(pairs.row, pairs.column)
        self.pairs, self.removed = len(pairs.row), int(is_substitute.sum())
        self._pairs = pairs.take(~is_substitute)
        self._gram: sparse.csr_matrix | None = None

    def lists(self, shrinkage: float) -> sparse.csr_matrix:
        """The lifts [N, N] of each product's best complements, of its own pairs alone."""
        size = len(self._substitutes.category)
        lifts = self._pairs.lift(shrinkage)
        matrix = sparse.csr_matrix((lifts, (self._pairs.row, self._pairs.column)), shape=(size, size))
        return keep_largest(matrix, self._settings.keep)

    def weights(self, lists: sparse.csr_matrix, ridges: Sequence[float]) -> list[sparse.csr_matrix]:
        """The weights of carts [N, N] of the entries of `lists`, for each ridge."""
        if self._gram is None:
            self._gram = upper_gram(self._shopping, self._settings)
        return cart_weights(lists, self._gram, ridges)

    def fit(self, strength: Strength) -> ComplementTable:
        """The whole table."""
        lists = self.lists(strength.shrinkage)
        (weights,) = self.weights(lists, [strength.ridge])
        category = self._substitutes.category
        by_category = CategoryComplements(self._shopping, category, strength.shrinkage, self._settings)
        sizes, parts = np.zeros(len(category), np.int64), []
        known = np.diff(lists.indptr).astype(np.int32)
        for first in range(0, len(category), _PRODUCTS):
            rows, scores, carts = [], [], []
            for product in range(first, min(first + _PRODUCTS, len(category))):
                place = lists.indptr[product] + _best_first(lists, product)
                others = max(self._settings.category_keep - len(place), 0)
                added, shares = by_category.best(product, lists.indices[place].tolist(), self._substitutes, others)
                sizes[product] = len(place) + len(added)
                rows += [lists.indices[place], added]
                scores += [lists.data[place], shares]
                carts += [weights.data[place], _BY_CATEGORY * shares]
            # three arrays a product take more than what they hold
            parts.append(
                (
                    np.concatenate(rows).astype(np.int32),
                    np.concatenate(scores).astype(np.float32),
                    np.concatenate(carts).astype(np.float32),
                )
            )
        offsets = np.concatenate([[0], np.cumsum(sizes)])
        return ComplementTable(offsets, known, *(np.concatenate(column) for column in zip(*parts, strict=True)))


def _best_first(lists: sparse.csr_matrix, product: int) -> Int64:
    """The places of a product's entries, the highest lift first, equal ones in the order of their rows."""
    part = slice(lists.indptr[product], lists.indptr[product + 1])
    return np.lexsort((lists.indices[part], -lists.data[part]))
