"""Makes answers of the rows that a search or a list has chosen."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from retrieval_service.filters.allowed import Allowed
from retrieval_service.filters.filters import Filters
from retrieval_service.live.view import LiveView
from retrieval_service.query import Answer, Merge, Query, Sort
from twotower.arrays import Float64, Int64
from twotower.merging import by_price
from twotower.search.ranking import Hits
from twotower.serving.wire import unpack_ids


class Answers:
    """Answers of one version; rows from N on are live products."""

    def __init__(self, rows: Mapping[str, int], price: Float64, filters: Filters) -> None:
        """`rows`: product id → row, in the order of the rows; `price` [N]."""
        self.ids = np.array(list(rows), np.object_)
        self._price = price
        self._filters = filters

    def id_of(self, row: int, view: LiveView | None) -> str:
        """The id of the product of a row."""
        rows = np.array([row], np.int64)
        return str((self.ids[rows].tolist() if view is None else view.ids(rows, self.ids))[0])

    def answer(self, hits: Hits, allowed: Allowed, is_below_noise: bool = False, followers: int = 0) -> Answer:
        """The products of the hits, in their order."""
        view, rows = allowed.view, hits.rows
        ids = self.ids[rows].tolist() if view is None else view.ids(rows, self.ids)
        return Answer(ids, hits.scores, hits.rows, allowed.unknown, is_below_noise, followers)

    def ranked(self, hits: Hits, orders: Int64, allowed: Allowed, query: Query) -> Answer:
        """The products of the hits as the query sorts them; they come by scores, equal ones by `orders` [K]."""
        if not query.for_merge:
            return self.answer(self.sorted(hits, query.sort, allowed.view), allowed)
        return self.answer(hits, allowed)._replace(merge=self.merge(hits, orders, query, allowed.view))

    def merge(self, hits: Hits, orders: Int64, query: Query, view: LiveView | None) -> Merge:
        """What merging these hits with others needs; `orders` [K] says which of equal scores comes first."""
        return Merge(orders, None if query.sort == "relevance" else self._prices(hits.rows, view))

    def sorted(self, hits: Hits, sort: Sort, view: LiveView | None = None) -> Hits:
        """The same products by price, equal prices in the order they have; those without a price come last."""
        if sort == "relevance":
            return hits
        order = by_price(self._prices(hits.rows, view), descending=sort == "price_desc")
        return Hits(hits.rows[order], hits.scores[order])

    def with_also(self, answer: Answer, query: Query, allowed: Allowed) -> Answer:
        """The answer with those products of the query's `also` that may be shown."""
        if not query.also:
            return answer
        if query.also not in allowed.also:
            # queries of one filter mostly name the same products
            allowed.also[query.also] = [one for one in unpack_ids(query.also) if self._filters.may_show(one, allowed)]
        named = allowed.also[query.also]
        if query.excluded_ids:
            excluded = set(query.excluded_ids)
            named = [one for one in named if one not in excluded]
        return answer._replace(also=named)

    def _prices(self, rows: Int64, view: LiveView | None) -> Float64:
        return self._price[rows] if view is None else view.prices(rows, self._price)
