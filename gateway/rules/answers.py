"""The products of all answers to one query, as columns; row i of each column is product i."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import or_

import numpy as np

from gateway.clients.answers import Hits
from gateway.clients.hits import codes_of, join, marks_of, take
from twotower.serving import wire


class Answers:
    """Grows by whole answers. `union`: the bits that some product has, because most rules are about few products.

    `own`: the rows of products that a list may take, each product once. `also`: those that the query has named.
    """

    def __init__(self) -> None:
        self.parts: list[Hits] = []
        self.ids: list[str] = []
        self.bits: list[int] = []
        self.scores: list[float] = []
        self.codes: dict[str, list[int]] = {"brand": [], "category": []}
        self.union = 0
        self.own: list[int] = []
        self.also: list[int] = []
        # the same by product
        self._own: dict[str, int] = {}
        self._also: dict[str, int] = {}

    def take_in(self, found: Hits, k: int) -> bool:
        """Adds the products of an answer for `k` products. Returns whether it has no others that it could name."""
        ids, start = wire.unpack_ids(found.packed_ids), len(self.ids)
        own = len(ids) - found.also
        if self.parts:
            new = [place for place in range(own) if ids[place] not in self._own]
            self._own.update((ids[place], start + place) for place in new)
            self.own += [start + place for place in new]
        else:
            self._own = dict(zip(ids[:own], range(own), strict=True))
            self.own = list(range(own))
        for place in range(own, len(ids)):
            if ids[place] not in self._own and ids[place] not in self._also:
                self._also[ids[place]] = start + place
                self.also.append(start + place)
        self.parts.append(found)
        self.ids += ids
        bits = marks_of(found)
        self.union = reduce(or_, set(bits), self.union)
        self.bits += bits
        self.scores += found.scores.tolist()
        if found.brand_codes:
            self.codes["brand"] += codes_of(found.brand_codes)
        if found.category_codes:
            self.codes["category"] += codes_of(found.category_codes)
        return own < k

    def rows_of(self, wanted: frozenset[str]) -> dict[str, int]:
        """The row of each of these products; one that the query has named and a later answer ranks is the later row."""
        own, also = self._own, self._also
        return {one: own[one] if one in own else also[one] for one in wanted if one in own or one in also}

    def hits(self, rows: Sequence[int]) -> Hits:
        """The products of these rows, in their order, without what was asked for the rules alone."""
        order = np.array(rows, np.int64)
        first = self.parts[0]
        if len(self.parts) > 1 or first.reasons is not None or first.products:
            joined = join(self.parts)._replace(marks=b"", brand_codes=b"", category_codes=b"")
            return take(joined, order)
        packed = wire.pack_ids([self.ids[row] for row in rows])
        return first._replace(
            packed_ids=packed, scores=first.scores[order], marks=b"", brand_codes=b"", category_codes=b"", also=0
        )
