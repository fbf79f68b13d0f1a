"""What one search sees of the live products: the slots that its filter allows, and the rows that it may not return."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from retrieval_service.live.slots import LiveNames, Slots
from twotower.arrays import Float32, Float64, Int64, Mask
from twotower.merging import best_of
from twotower.search.fused_score import FusedScore
from twotower.search.neighbours import History
from twotower.search.ranking import Hits, inner_products
from twotower.search.word_index import Word

# a search of the index asks for so many times the hidden products to be expected among the best, and for some more
_SPARE, _SPARE_MORE, _EXPECTED = 2.0, 2, 0.05

# the best rows of the queries at some places, so many of each, among the allowed rows
Find = Callable[[Sequence[int], Sequence[int], Mask | None], list[Hits]]


class Wanted(Protocol):
    """The parts of a filter; see `retrieval_service.query.Filter`."""

    @property
    def categories(self) -> tuple[str, ...]: ...
    @property
    def brands(self) -> tuple[str, ...]: ...
    @property
    def in_stock(self) -> bool | None: ...
    @property
    def price_min(self) -> float | None: ...
    @property
    def price_max(self) -> float | None: ...
    @property
    def excluded_words(self) -> tuple[str, ...]: ...


class LiveView:
    """`count`: the slots M that it sees. A slot's row is N + slot, N being the version's number of products."""

    def __init__(self, slots: Slots, count: int, hidden: Mask, hidden_count: int, wanted: Wanted) -> None:
        self.count = count
        self._slots = slots
        self._hidden = hidden
        self._hidden_count = hidden_count
        self._wanted = wanted
        self._size = len(hidden)

    def allowed(self, is_name: Callable[[str, str], bool]) -> Mask:
        """The slots [M] of this shard that the filter allows; `is_name("brand", value)`: the version has that brand."""
        slots, wanted, count = self._slots, self._wanted, self.count
        allowed = slots.alive[:count] & slots.own[:count]
        for kind, values, names, codes in self._attributes():
            if values:
                matching = [code for one in values for code in names.codes(one, is_name=is_name(kind, one))]
                allowed &= np.isin(codes[:count], matching)
        if wanted.in_stock is not None:
            allowed &= slots.in_stock[:count] == wanted.in_stock
        # a comparison with NaN is false
        if wanted.price_min is not None:
            allowed &= slots.price[:count] >= wanted.price_min
        if wanted.price_max is not None:
            allowed &= slots.price[:count] <= wanted.price_max
        for word in wanted.excluded_words:
            allowed &= ~slots.words.holding(word, count)
        return allowed

    def still_unknown(self, unknown: Sequence[str]) -> list[str]:
        """Of the filter values that no product of the version has, as "brand=...", those that no live one has."""
        known = set[str]()
        alive = self._slots.alive[: self.count]
        for kind, values, names, codes in self._attributes():
            for one in values:
                if np.isin(codes[: self.count][alive], names.codes(one, is_name=False)).any():
                    known.add(f"{kind}={one}")
        return [one for one in unknown if one not in known]

    def find(self, find: Find, ks: Sequence[int], excluded: Sequence[Int64], allowed: Mask | None) -> list[Hits]:
        """The best rows of the version without hidden ones, by a search that knows nothing of these."""
        every = range(len(ks))
        if not self._hidden_count:
            return find(every, ks, allowed)
        if allowed is not None:
            return find(every, ks, allowed & ~self._hidden)
        # a mask would make the search slower; a few more rows mostly suffice
        expected = [_SPARE * k * self._hidden_count / self._size for k in ks]
        asked = [k if one < _EXPECTED else k + int(one) + _SPARE_MORE for k, one in zip(ks, expected, strict=True)]
        found = [self._shown(hits, k) for hits, k in zip(find(every, asked, None), ks, strict=True)]
        few = [
            place
            for place, (hits, k) in enumerate(zip(found, ks, strict=True))
            if len(hits.rows) < min(k, self._size - self._hidden_count - len(excluded[place]))
        ]
        if few:
            for place, hits in zip(few, find(few, [ks[place] for place in few], ~self._hidden), strict=True):
                found[place] = hits
        return found

    def by_vector(self, queries: Float32, *, texts: bool) -> Float32:
        """Inner products [B, M] with the vectors, or with those of the texts."""
        vectors = self._slots.texts if texts else self._slots.vectors
        # BLAS adds in another order for another number of slots or queries, and replicas have different ones
        every = np.arange(self.count)[None].repeat(len(queries), axis=0)
        return inner_products(vectors, np.ascontiguousarray(queries, np.float32), every)

    def by_words(self, queries: Float32, words: Sequence[Sequence[Word]]) -> Float32:
        """Scores [B, M] of searches by text and words, as `WordSearch` has them."""
        scores = self.by_vector(queries, texts=True) + self._slots.ties[: self.count]
        for own, one in zip(scores, words, strict=True):
            own += self._slots.words.added(one, self.count)
        return scores

    def text(self, row: int) -> Float32:
        """The text vector [E] of a slot, by its row."""
        vector: Float32 = self._slots.texts[row - self._size]
        return vector

    def held(self, alternatives: Sequence[Word], row: int) -> float:
        """How well a slot, by its row, holds one word of a search; as `WordIndex.held`."""
        return self._slots.words.held(alternatives, row - self._size, self.count)

    def by_history(self, queries: Float32, histories: Sequence[History], score: FusedScore) -> Float32:
        """Fused scores [B, M]: a slot has what the score adds to its row in the version; a new product has no more than
        its vector.
        """
        scores = self.by_vector(queries * score.vector_weight, texts=False)
        base = self._slots.base[: self.count]
        slots = np.flatnonzero(base >= 0)
        if len(slots):
            rows = base[slots]
            prior = np.float32(0) if score.base is None else score.base[rows]
            for own, history in zip(scores, histories, strict=True):
                near = score.added_to_neighbours(history)
                places = np.minimum(near.rows.searchsorted(rows), max(len(near.rows) - 1, 0))
                is_near = near.rows[places] == rows if len(near.rows) else np.zeros(len(rows), np.bool_)
                own[slots] += np.where(is_near, near.scores[places], prior) if len(near.rows) else prior
        return scores

    def unite(self, hits: Hits, scores: Float32, allowed: Mask, excluded: Int64, k: int) -> Hits:
        """The best `k` of the version's hits and of the allowed slots [M] with their scores [M]."""
        if len(hits.rows) >= k:
            # mostly a handful: of equal scores the version's rows come first
            better = np.flatnonzero(scores > hits.scores[k - 1])
            mine = better[allowed[better]]
        else:
            mine = np.flatnonzero(allowed)
        if len(excluded) and len(mine):
            mine = mine[~np.isin(mine, excluded)]
        own = scores[mine]
        if k < len(mine):
            kept = np.flatnonzero(own >= np.partition(own, len(own) - k)[len(own) - k])
            mine, own = mine[kept], own[kept]
        rows, united = np.concatenate([hits.rows, mine + self._size]), np.concatenate([hits.scores, own])
        best = best_of(united, np.concatenate([hits.rows, self._slots.order[mine] + self._size]), k)
        return Hits(rows[best], united[best])

    def orders(self, rows: Int64) -> Int64:
        """Which of equal products comes first: rows of the version, then slots in an order that all replicas have."""
        own = rows >= self._size
        return np.where(own, self._slots.order[np.where(own, rows - self._size, 0)] + self._size, rows)

    @property
    def all_slots(self) -> Slots:
        """All slots; this view sees the first `count`."""
        return self._slots

    def is_hidden(self, row: int) -> bool:
        """Whether no answer may show a row of the version."""
        return bool(self._hidden[row])

    def slots_of(self, ids: Sequence[str]) -> Int64:
        return self._slots.slots_of(ids)

    def ids(self, rows: Int64, ids: np.ndarray) -> list[str]:
        """The ids of rows of the version, which `ids` [N] has, and of slots."""
        return [ids[row] if row < self._size else self._slots.ids[row - self._size] for row in rows.tolist()]

    def prices(self, rows: Int64, prices: Float64) -> Float64:
        """The prices of rows of the version, which `prices` [N] has, and of slots; NaN for none."""
        own = rows >= self._size
        found = prices[np.where(own, 0, rows)]
        found[own] = self._slots.price[rows[own] - self._size]
        return found

    def trained_rows(self, rows: Int64) -> Int64:
        """The rows that slots stand for, instead of theirs; -1 for a new product."""
        own = rows >= self._size
        return np.where(own, self._slots.base[np.where(own, rows - self._size, 0)], rows)

    def trained_mask(self, mask: Mask | None, allowed: Mask) -> Mask | None:
        """The rows [N] that may be shown as themselves or by their slot; `mask` and `allowed` say what a filter allows.

        None: all of them.
        """
        if not self._hidden_count:
            return mask
        shown = ~self._hidden if mask is None else mask & ~self._hidden
        base = self._slots.base[: self.count]
        shown[base[allowed & (base >= 0)]] = True
        return shown

    def with_new(self, hits: Hits, k: int, excluded: Sequence[str], allowed: Mask) -> Hits:
        """The most popular rows, followed by new products, of which no popularity is known, while there are fewer
        than k; slots stand in for their rows.
        """
        base = self._slots.base[: self.count]
        mine = np.flatnonzero(allowed & (base >= 0))
        rows = hits.rows.copy()
        if len(mine):
            by_row = mine[np.argsort(base[mine])]
            places = np.minimum(base[by_row].searchsorted(rows), len(by_row) - 1)
            rows = np.where(base[by_row[places]] == rows, by_row[places] + self._size, rows)
        new = np.flatnonzero(allowed & (base < 0))
        new = new[~np.isin(new, self._slots.slots_of(excluded))]
        new = new[np.argsort(self._slots.order[new])][: k - len(rows)]
        scores = np.concatenate([hits.scores, np.zeros(len(new), np.float32)])
        return Hits(np.concatenate([rows, new + self._size]), scores)

    def vectors(self, trained: Float32, *, texts: bool) -> UnitedVectors:
        """The vectors of the version's rows and of slots."""
        return UnitedVectors(trained, self._slots.texts if texts else self._slots.vectors)

    def _shown(self, hits: Hits, k: int) -> Hits:
        shown = ~self._hidden[hits.rows]
        return Hits(hits.rows[shown][:k], hits.scores[shown][:k])

    def _attributes(self) -> list[tuple[str, tuple[str, ...], LiveNames, Int64]]:
        slots, wanted = self._slots, self._wanted
        return [
            ("category", wanted.categories, slots.categories, slots.category),
            ("brand", wanted.brands, slots.brands, slots.brand),
        ]


class UnitedVectors:
    """The vectors of the version [N, D] and of slots, as one array of N + M rows."""

    def __init__(self, trained: Float32, slots: Float32) -> None:
        self._trained = trained
        self._slots = slots

    def vector(self, row: int) -> Float32:
        size = len(self._trained)
        found: Float32 = self._trained[row] if row < size else self._slots[row - size]
        return found
