"""The products of all answers to one query, as columns; row i of each column is product i."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import or_

import numpy as np

from gateway.clients.hits import codes_of, join, marks_of, take
from gateway.clients.services import Hits
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

    def take_in(self, found: Hits, k: int) -> bool:
        """Adds the products of an answer for `k` products. Returns whether it has no others that it could name."""
        ids, start = wire.unpack_ids(found.packed_ids), len(self.ids)
        own = len(ids) - found.also
        if self.parts:
            known = {self.ids[row] for row in self.own}
            self.own += [start + place for place, one in enumerate(ids[:own]) if one not in known]
        else:
            self.own = list(range(own))
        if found.also:
            known = {*ids[:own], *(self.ids[row] for row in (*self.own, *self.also) if row < start)}
            self.also += [start + place for place in range(own, len(ids)) if ids[place] not in known]
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
        if len(self.parts) == 1:
            return {one: self.ids.index(one) for one in wanted.intersection(self.ids)}
        return {self.ids[row]: row for row in (*self.also, *self.own) if self.ids[row] in wanted}

    def hits(self, rows: Sequence[int]) -> Hits:
        """The products of these rows, in their order, without what was asked for the rules alone."""
        joined = self.parts[0] if len(self.parts) == 1 else join(self.parts)
        joined = joined._replace(marks=b"", brand_codes=b"", category_codes=b"")
        return take(joined, np.array(rows, np.int64))
