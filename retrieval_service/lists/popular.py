"""The most popular products that a filter allows."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from retrieval_service.answers import Answers
from retrieval_service.filters.allowed import Allowed
from retrieval_service.filters.filters import Filters
from retrieval_service.live.view import LiveView
from retrieval_service.query import Answer, Query, check_queries
from twotower.arrays import Float64, Int64
from twotower.caller import check_caller
from twotower.search.ranking import Hits


class PopularProducts:
    """The products of one version by popularity. `rows` [N]: all of them, the most popular first."""

    def __init__(self, popularity: Float64, filters: Filters, answers: Answers) -> None:
        self._filters = filters
        self._answers = answers
        self._popularity = popularity.astype(np.float32)
        self.rows: Int64 = np.lexsort((np.arange(len(popularity)), -popularity))

    @cached_property
    def places(self) -> Int64:
        """The place [N] of each row among all products."""
        places = np.empty_like(self.rows)
        places[self.rows] = np.arange(len(places))
        return places

    def orders(self, rows: Int64, view: LiveView | None) -> Int64:
        """Which of equal products comes first: by popularity, then new products as `view` orders them."""
        trained = rows if view is None else view.trained_rows(rows)
        places = self.places[trained]
        return places if view is None else np.where(trained >= 0, places, view.orders(rows))

    def answer(self, queries: Sequence[Query]) -> list[Answer]:
        """The most popular products for each query; scores are shares of all events' weight.

        Diversity has no effect. Raises InvalidInput for a k or a diversity out of range.
        """
        check_queries(queries)
        answers = []
        for query, allowed in zip(queries, self._filters.each_allowed(queries), strict=True):
            check_caller()
            answers.append(self._answers.with_also(self._popular(query, allowed), query, allowed))
        return answers

    def _popular(self, query: Query, allowed: Allowed) -> Answer:
        view, rows = allowed.view, self.rows
        mask = self._filters.shown(allowed)
        if mask is not None:
            rows = rows[mask[rows]]
        excluded = self._filters.excluded(query)
        # k are left even if each excluded product is among these
        rows = rows[: query.k + len(excluded)]
        rows = rows[~np.isin(rows, excluded)][: query.k]
        chosen = Hits(rows, self._popularity[rows])
        if view is not None:
            chosen = view.with_new(chosen, query.k, query.excluded_ids, allowed.slots)
        orders = self.orders(chosen.rows, view) if query.for_merge else chosen.rows
        return self._answers.ranked(chosen, orders, allowed, query)
