"""What completes a cart: complements that the filter allows, then popular products while there are fewer than k."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from retrieval_service.answers import Answers
from retrieval_service.filters.allowed import Allowed
from retrieval_service.filters.filters import Filters
from retrieval_service.lists.popular import PopularProducts
from retrieval_service.live.products import LiveProducts
from retrieval_service.live.view import LiveView
from retrieval_service.lookup import ProductLookup
from retrieval_service.query import Answer, Query, check_queries
from twotower.arrays import Int64, Mask
from twotower.caller import check_caller
from twotower.errors import InvalidInput
from twotower.search.complements import ComplementTable, Completion
from twotower.search.ranking import Hits

MAX_CART = 100
# no cart has so many complements
_AFTER_COMPLEMENTS = 1 << 40
NOTHING = Completion(np.empty(0, np.int64), np.empty(0, np.float32), np.empty(0, np.int64), np.empty(0, np.bool_))


class TogetherAnswer(NamedTuple):
    """An Answer, and for each of its products the place in the cart of the one that it goes with best, -1 for a popular
    product; `is_known`: whether that pair was measured. `unknown_product_ids`: those of the cart.
    """

    answer: Answer
    because: list[int]
    is_known: list[bool]
    unknown_product_ids: list[str]


class CartCompletion:
    """Completes carts with the complements of one version, or with popular products if it has none."""

    def __init__(
        self,
        complements: ComplementTable | None,
        rows: Mapping[str, int],
        popular: PopularProducts,
        lookup: ProductLookup,
        live: LiveProducts,
        filters: Filters,
        answers: Answers,
    ) -> None:
        """`rows`: product id → row."""
        self._complements = complements
        self._rows = rows
        self._popular = popular
        self._lookup = lookup
        self._live = live
        self._filters = filters
        self._answers = answers

    def answer(self, queries: Sequence[Query], carts: Sequence[Sequence[str]]) -> list[TogetherAnswer]:
        """What completes each cart of product ids, none of it; popular products while there are fewer than k.

        Diversity has no effect. Raises InvalidInput for a k out of range and for a cart that `check_cart` refuses.
        """
        check_queries(queries)
        for place, cart in enumerate(carts):
            check_cart(cart, f"queries[{place}].product_ids")
        answers = []
        for query, cart, allowed in zip(queries, carts, self._filters.each_allowed(queries), strict=True):
            check_caller()
            answers.append(self._together(query, cart, allowed))
        return answers

    def _together(self, query: Query, cart: Sequence[str], allowed: Allowed) -> TogetherAnswer:
        view = allowed.view
        unknown = [one for one in cart if self._live.is_hidden(one) or not self._lookup.is_known(one)]
        placed = [
            (place, self._rows[one]) for place, one in enumerate(cart) if one in self._rows and one not in unknown
        ]
        found = complements = NOTHING
        if placed and self._complements is not None:
            found = self._complements.complete([row for _, row in placed])
            found = found._replace(because=np.array([place for place, _ in placed], np.int64)[found.because])
            complements = found
        without = query._replace(excluded_ids=[*query.excluded_ids, *cart])
        excluded = self._filters.excluded(without)
        found = fill(found, self._filters.shown(allowed), excluded, self._popular.rows, query.k)
        hits = Hits(found.rows, found.scores)
        if view is not None:
            # rows that a slot stands in for keep their places; new products come behind
            hits = view.with_new(hits, query.k, without.excluded_ids, allowed.slots)
            found = extended(found, hits.rows[len(found.rows) :])._replace(rows=hits.rows)
        if query.for_merge:
            orders = self._orders(hits.rows, complements, found.because, view)
            return _completed(self._answers.ranked(hits, orders, allowed, query), hits, found, unknown)
        ordered = self._answers.sorted(hits, query.sort, view)
        return _completed(self._answers.answer(ordered, allowed), ordered, found, unknown)

    def _orders(self, rows: Int64, complements: Completion, because: Int64, view: LiveView | None) -> Int64:
        """Which of equal products comes first: complements in the order of all, then popular ones."""
        orders = self._popular.orders(rows, view) + _AFTER_COMPLEMENTS
        place_of = {row: place for place, row in enumerate(complements.rows.tolist())}
        trained = rows if view is None else view.trained_rows(rows)
        for place in np.flatnonzero(because >= 0).tolist():
            orders[place] = place_of[int(trained[place])]
        return orders


def check_cart(product_ids: Sequence[str], field: str) -> None:
    """Raises InvalidInput for an empty cart, a large one, and one that holds a product twice."""
    if not 1 <= len(product_ids) <= MAX_CART:
        raise InvalidInput(field, len(product_ids), f"is the number of products, which must be 1 to {MAX_CART}")
    if len(set(product_ids)) < len(product_ids):
        raise InvalidInput(field, list(product_ids), "holds a product twice")


def fill(found: Completion, mask: Mask | None, excluded: Int64, popular: Int64, k: int) -> Completion:
    """The first k complements that the mask [N] allows and that are not excluded, then rows of `popular`.

    `because` is -1 and the score 0 for a popular one.
    """
    kept = found.take(_allowed(found.rows, mask, excluded)[:k])
    missing = k - len(kept.rows)
    # so many are left even if each excluded one and each complement is among the first
    others = popular if mask is None else popular[mask[popular]]
    others = others[: missing + len(excluded) + len(kept.rows)] if missing else others[:0]
    others = others[~np.isin(others, np.concatenate([excluded, kept.rows]))][:missing]
    return extended(kept, others)


def extended(found: Completion, rows: Int64) -> Completion:
    """With more rows behind, which no product of the cart speaks for."""
    count = len(rows)
    return Completion(
        np.concatenate([found.rows, rows]),
        np.concatenate([found.scores, np.zeros(count, np.float32)]),
        np.concatenate([found.because, np.full(count, -1, np.int64)]),
        np.concatenate([found.is_known, np.zeros(count, np.bool_)]),
    )


def _allowed(rows: Int64, mask: Mask | None, excluded: Int64) -> Int64:
    """The places of the allowed rows."""
    is_allowed = ~np.isin(rows, excluded)
    if mask is not None:
        is_allowed &= mask[rows]
    return np.flatnonzero(is_allowed)


def _completed(answer: Answer, ordered: Hits, found: Completion, unknown: list[str]) -> TogetherAnswer:
    place_of = {row: place for place, row in enumerate(found.rows.tolist())}
    places = [place_of[row] for row in ordered.rows.tolist()]
    return TogetherAnswer(answer, found.because[places].tolist(), found.is_known[places].tolist(), unknown)
