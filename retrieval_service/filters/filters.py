"""Turns filters and excluded ids into row masks of one version and slots of its live products."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from retrieval_service.filters import conditions
from retrieval_service.filters.allowed import Allowed
from retrieval_service.filters.marks import Marks
from retrieval_service.filters.names import Names
from retrieval_service.live.products import LiveProducts
from retrieval_service.live.view import LiveView
from retrieval_service.query import NO_FILTER, Filter, Query
from twotower.arrays import Int64, Mask
from twotower.artifact.catalogue import Columns
from twotower.caller import check_caller
from twotower.conditions.evaluation import matches
from twotower.search.word_index import WordIndex
from twotower.sharding import Rows
from twotower.text.normalise import Normaliser

_NONE = np.empty(0, np.int64)


class Filters:
    """The filters of one version.

    Masks are those of all products, since how deep an index searches depends on how many are allowed; a shard's index
    finds its rows alone. Slots, and what is said of single products, are those of the shard.
    """

    def __init__(
        self,
        rows: Mapping[str, int],
        columns: Columns,
        words: WordIndex,
        live: LiveProducts,
        part: Rows | None = None,
    ) -> None:
        """`rows`: product id → row. `live` changes stock and prices of `columns` in place. `part`: a shard's rows."""
        self._part = part
        fold = Normaliser.profile("full")
        self._rows = rows
        self._words = words
        self._live = live
        self._categories = Names("category", columns.categories, columns.category, fold)
        self._brands = Names("brand", columns.brands, columns.brand, fold)
        names = {"brand": self._brands, "category": self._categories}
        self._columns = conditions.VersionColumns(
            rows,
            lambda field, values: names[field].codes(values),
            {"brand": columns.brand, "category": columns.category},
            columns.price,
            columns.in_stock,
            columns.first_seen,
        )
        self.marks = Marks(self._columns, (columns.brands, columns.categories), self._is_name)
        self._in_stock = columns.in_stock
        self._price = columns.price

    def each_allowed(self, queries: Sequence[Query]) -> list[Allowed]:
        """What the filter of each query allows."""
        # the queries of a batch often share a filter
        by_filter = dict[Filter, Allowed]()
        for query in queries:
            if query.filter not in by_filter:
                check_caller()
                by_filter[query.filter] = self.allowed(query.filter)
        return [by_filter[query.filter] for query in queries]

    def allowed(self, wanted: Filter) -> Allowed:
        """What a filter allows. Raises InvalidInput if its condition is none."""
        trained, view = self._filter_trained(wanted), self._live.view(wanted)
        if view is None:
            return trained
        unknown = view.still_unknown(trained.unknown) if trained.unknown else []
        slots = view.allowed(self._is_name)
        if wanted.where:
            condition = conditions.read_condition(wanted.where, "filter.where")
            slots &= matches(condition, self._slot_table(view, np.arange(view.count)))
        return Allowed(trained.mask, unknown, view, slots)

    def shown(self, allowed: Allowed) -> Mask | None:
        """The rows [N] of this shard that may be shown, as themselves or by a slot of this shard; None: all rows."""
        mask = allowed.mask
        if self._part is not None:
            mask = np.zeros(len(self._rows), np.bool_)
            own = slice(*self._part)
            mask[own] = True if allowed.mask is None else allowed.mask[own]
        return mask if allowed.view is None else allowed.view.trained_mask(mask, allowed.slots)

    def excluded(self, query: Query) -> Int64:
        """The rows of the excluded products."""
        if not query.excluded_ids:
            return _NONE
        return np.array([row for row in map(self._rows.get, query.excluded_ids) if row is not None], np.int64)

    def may_show(self, product_id: str, allowed: Allowed) -> bool:
        """Whether a product may be shown and the filter allows it."""
        view, row = allowed.view, self._rows.get(product_id)
        if view is not None:
            slot = view.all_slots.by_id.get(product_id)
            if slot is not None:
                return slot < view.count and bool(allowed.slots[slot])
            if self._live.is_hidden(product_id):
                return False
        return row is not None and self._is_own(row) and (allowed.mask is None or bool(allowed.mask[row]))

    def shown_row(self, product_id: str, allowed: Allowed) -> int:
        """The row of a product, or N + its slot, if it may be shown and the filter allows it; else -1."""
        view = allowed.view
        if view is not None and len(slots := view.slots_of([product_id])):
            slot = int(slots[0])
            return len(self._rows) + slot if slot < view.count and allowed.slots[slot] else -1
        row = self._rows.get(product_id, -1)
        if row < 0 or not self._is_own(row) or (allowed.mask is not None and not allowed.mask[row]):
            return -1
        return -1 if view is not None and view.is_hidden(row) else row

    def _is_own(self, row: int) -> bool:
        return self._part is None or self._part.first <= row < self._part.stop

    def _slot_table(self, view: LiveView, slots: Int64) -> conditions.SlotTable:
        return conditions.SlotTable(view.all_slots, slots, self._is_name, self._columns.first_seen)

    def _is_name(self, kind: str, value: str) -> bool:
        return (self._brands if kind == "brand" else self._categories).has(value)

    def _filter_trained(self, wanted: Filter) -> Allowed:
        if wanted == NO_FILTER:
            return Allowed(None, [])
        categories, brands = self._categories.allowed(wanted.categories), self._brands.allowed(wanted.brands)
        stock = None if wanted.in_stock is None else self._in_stock == wanted.in_stock
        # a comparison with NaN is false: a product without a price is within no limits
        above = None if wanted.price_min is None else self._price >= wanted.price_min
        below = None if wanted.price_max is None else self._price <= wanted.price_max
        without = self._without(wanted.excluded_words) if wanted.excluded_words else None
        where = None
        if wanted.where:
            condition = conditions.read_condition(wanted.where, "filter.where")
            where = matches(condition, self._columns.at(None))
        parts = (categories.mask, brands.mask, stock, above, below, without, where)
        masks = [mask for mask in parts if mask is not None]
        return Allowed(
            np.logical_and.reduce(masks) if masks else None,
            categories.unknown + brands.unknown,
        )

    def _without(self, words: Sequence[str]) -> Mask:
        allowed = np.ones(self._words.size, np.bool_)
        for word in words:
            allowed[self._words.rows_of(word)] = False
        return allowed
