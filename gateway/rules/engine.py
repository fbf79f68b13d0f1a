"""Makes a list as a plan has it: min(k, allowed) products, none twice, all within the caller's own filters.

The retrieval service is asked for some more products than the list has, and says which conditions each fulfils. Only if
that does not do, it is asked once more, for what is missing: every product comes from an answer to the caller's query,
under the caller's filters and exclusions. Plain loops over a hundred numbers are faster here than numpy's calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import NamedTuple

import numpy as np

from gateway.clients.hits import codes_of, join, marks_of, take
from gateway.clients.services import Hits
from gateway.rules.plans import Needed, Plan
from twotower.conditions import ALWAYS, NEVER, Condition, both, either, is_one_of, negated, write
from twotower.pb import retrieval_pb2
from twotower.serving import wire

# products asked for beyond the list: what is boosted comes from among these
DEPTH = 30
# the longest list that the retrieval service gives
_MAX_K = 1000
# how often full brands or categories are left out before products of these fill a list
_ROUNDS = 3

Ask = Callable[[retrieval_pb2.Query], Awaitable[Hits]]
Names = Callable[[Sequence[str]], Awaitable[Sequence[retrieval_pb2.Product]]]


class Ruled(NamedTuple):
    """A list; `placed_by`: product id → the rule that moved it to its place."""

    hits: Hits
    placed_by: dict[str, str] = {}  # noqa: RUF012  (nobody writes to it)
    warnings: list[str] = []  # noqa: RUF012
    # the followers, if they do not come first
    known_followers: Collection[str] | None = None

    def followers(self) -> Collection[str]:
        """The products of a list by `follows` that are followers."""
        if self.known_followers is not None:
            return self.known_followers
        return wire.unpack_ids(self.hits.packed_ids)[: self.hits.followers]


class Asking(NamedTuple):
    """A query, and what answers it. `first` answers the first question, in an order that counts as the best."""

    query: retrieval_pb2.Query
    ask: Ask
    first: Ask
    # the brands and categories of products, which are asked for only if a list cannot be filled otherwise
    names: Names


async def apply(plan: Plan, asking: Asking, shown: Sequence[Collection[str]] = ()) -> Ruled:
    """The list of a query, which is changed. `shown`: of each rule of `plan.repeats`, what was shown lately."""
    if plan.excluded == ALWAYS:
        asking.query.filter.where = write(NEVER)
        return Ruled(await asking.ask(asking.query))
    making = _Making(plan, asking, shown)
    return await making.finish(await making.fill())


# a limit of `at_most`, by its place in the plan, and the code of a brand or category
_Group = tuple[int, int]
_Pinned = tuple[int, int, str]


class _Ranked(NamedTuple):
    """Rows in the order in which a list takes them; `good`: how many come before those that only fill it up."""

    rows: list[int]
    good: int
    full: list[_Group]
    # row -> the rule that moved it
    moved: dict[int, str]
    # place, row and rule, by place
    pins: list[_Pinned]


class _Making:
    """A list that is being made. Row i of each column is product i of all answers so far."""

    def __init__(self, plan: Plan, asking: Asking, shown: Sequence[Collection[str]]) -> None:
        self._plan, self._asking = plan, asking
        asked = asking.query
        # the caller's sort is the order of the whole list, after all that rules do
        self._k, self._sort, self._diversity = asked.k, asked.sort, asked.diversity
        self._own_excluded = len(asked.excluded_ids)
        self._parts: list[Hits] = []
        self._ids: list[str] = []
        self._bits: list[int] = []
        self._scores: list[float] = []
        # the bits that some product has: most rules are about few products
        self._union = 0
        self._codes: dict[str, list[int]] = {"brand": [], "category": []}
        # the rows of products that a list may take, each product once, and of those that `also` has named
        self._own: list[int] = []
        self._also: list[int] = []
        pairs = list(zip(plan.repeats, shown, strict=False))
        # left out by their ids, which costs the least, or by a condition that holds for some of them
        self._hidden = {one for (mark, _), ids in pairs if not mark.bit for one in ids}
        self._repeated = [(mark, frozenset(ids)) for (mark, _), ids in pairs if ids]

    async def fill(self) -> _Ranked:
        """Asks until the list is full, or no other product is left."""
        plan, query, ask = self._plan, self._asking.query, self._asking.ask
        query.marks, query.sort = plan.marks, retrieval_pb2.RELEVANCE
        for rule, _ in plan.at_most:
            query.with_brand_codes |= rule.field == "brand"
            query.with_category_codes |= rule.field == "category"
        # details are looked up for those that stay
        query.with_products = False
        if self._hidden:
            query.excluded_ids.extend(self._hidden.difference(query.excluded_ids))
        # a diverse list costs the square of its length, and each of its products depends on those before it
        query.k = self._k if self._diversity else min(self._k + DEPTH, _MAX_K)
        if self._diversity and plan.allowed:
            query.filter.where = plan.allowed
        if self._names_also:
            query.also = plan.also
        found = await self._asking.first(query)
        query.also = ""
        is_all, ranked = self._take_in(found, query.k), self._rank()
        if ranked.good >= self._k:
            return ranked
        repeats = [
            both(mark.condition, is_one_of("product_id", sorted(ids))) for mark, ids in self._repeated if mark.bit
        ]
        if not is_all and (plan.excluded != NEVER or repeats):
            query.filter.where = plan.where(*map(negated, repeats))
            is_all, ranked = self._take_in(await ask(query), query.k), self._rank()
        for _ in range(_ROUNDS):
            if ranked.good >= self._k or is_all or not ranked.full:
                break
            full = await self._full_groups(ranked)
            query.filter.where = plan.where(*map(negated, repeats), *map(negated, full))
            is_all, ranked = self._take_in(await ask(query), query.k), self._rank()
        if len(ranked.rows) < self._k and (self._hidden or repeats or plan.at_most):
            # what was shown lately is better than nothing
            more = self._further(self._k, plan.allowed)
            more.diversity = self._diversity
            self._take_in(await ask(more), more.k)
            ranked = self._rank()
        return ranked

    async def finish(self, ranked: _Ranked) -> Ruled:
        """The list, with what it must have."""
        if await self._fetch_missing():
            ranked = self._rank()
        chosen, placed_by = self._place(ranked)
        joined = self._parts[0] if len(self._parts) == 1 else join(self._parts)
        hits = take(joined, np.array(chosen, np.int64))
        placed: dict[str, str] = {}
        if placed_by:
            placed = {self._ids[row]: placed_by[row] for row in chosen if row in placed_by}
        followers: set[str] | None = None
        if self._asking.query.follows:
            followers = {one for part in self._parts for one in wire.unpack_ids(part.packed_ids)[: part.followers]}
            hits = hits._replace(followers=sum(self._ids[row] in followers for row in chosen))
        if self._sort and chosen:
            hits = await self._sorted([self._ids[row] for row in chosen], hits)
        return Ruled(hits, placed, [], followers)

    @property
    def _names_also(self) -> bool:
        """Whether the first question may name products; what puts the answer in another order must not meet them."""
        return self._asking.first is self._asking.ask

    def _take_in(self, found: Hits, k: int) -> bool:
        """Adds the products of an answer. Returns whether it has no others that it could name."""
        ids, start = wire.unpack_ids(found.packed_ids), len(self._ids)
        own = len(ids) - found.also
        if self._parts:
            known = {self._ids[row] for row in self._own}
            self._own += [start + place for place, one in enumerate(ids[:own]) if one not in known]
        else:
            self._own = list(range(own))
            if found.also:
                known = set(ids[:own])
                self._also = [place for place in range(own, len(ids)) if ids[place] not in known]
        self._parts.append(found)
        self._ids += ids
        bits = marks_of(found)
        for one in set(bits):
            self._union |= one
        self._bits += bits
        self._scores += found.scores.tolist()
        self._codes["brand"] += codes_of(found.brand_codes)
        self._codes["category"] += codes_of(found.category_codes)
        return own < k

    def _rank(self) -> _Ranked:
        """All products that may be shown, in the order in which a list takes them."""
        plan, bits, rows = self._plan, self._bits, self._own
        if excluded := plan.excluded_bit & self._union:
            rows = [row for row in rows if not bits[row] & excluded]
        moved: dict[int, str] = {}
        if plan.boosts and (plan.boost_bits < 0 or plan.boost_bits & self._union):
            rows = self._boost(rows, moved)
        if plan.buried:
            rows = self._bury(rows, moved)
        later: list[int] = []
        if self._repeated:
            later = [row for row in rows if self._was_shown(row)]
            rows = [row for row in rows if not self._was_shown(row)]
        pins = self._pins() if plan.pins else []
        if pins:
            # they have their places: the limits count them first
            pinned = [row for _, row, _ in pins]
            rows = pinned + [row for row in rows if row not in pinned]
            later = [row for row in later if row not in pinned]
        over: list[int] = []
        full: list[_Group] = []
        if plan.at_most:
            rows, over, full = self._limit(rows)
        return _Ranked([*rows, *over, *later], len(rows), full, moved, pins)

    def _boost(self, rows: list[int], moved: dict[int, str]) -> list[int]:
        """The rows in the order of their boosted scores; notes in `moved` which have come up."""
        bits, some, factor = self._bits, self._plan.boost_bits, self._plan.factor
        mine = [place for place, row in enumerate(rows) if some < 0 or bits[row] & some]
        if not mine:
            return rows
        # a place has its own score: where exploration or diversity puts a product first, it stays
        scores = [self._scores[row] for row in rows]
        scores.sort(reverse=True)
        names: dict[int, str] = {}
        for place in mine:
            by, names[place] = factor(bits[rows[place]])
            scores[place] = scores[place] * by if scores[place] > 0 else scores[place] / by
        order = sorted(range(len(rows)), key=scores.__getitem__, reverse=True)
        for place, before in enumerate(order):
            if place < before and before in names:
                moved[rows[before]] = names[before]
        return [rows[place] for place in order]

    def _bury(self, rows: list[int], moved: dict[int, str]) -> list[int]:
        """The rows, those behind that are buried; notes them in `moved`."""
        bits, some = self._bits, 0
        for _, mark in self._plan.buried:
            if not mark.bit:
                # all are, so that none comes before another
                return rows
            some |= mark.bit
        if not some & self._union:
            return rows
        down = [row for row in rows if bits[row] & some]
        for row in down:
            moved[row] = next(name for name, mark in self._plan.buried if bits[row] & mark.bit)
        return [row for row in rows if not bits[row] & some] + down

    def _was_shown(self, row: int) -> bool:
        one, bits = self._ids[row], self._bits[row]
        return any(one in ids and mark.holds(bits) for mark, ids in self._repeated)

    def _limit(self, rows: list[int]) -> tuple[list[int], list[int], list[_Group]]:
        """The rows within the limits of brands and categories, those beyond, and the groups that are full."""
        bits, some, counts = self._bits, 0, dict[_Group, int]()
        limits = [
            (place, rule.n, mark.bit or -1, self._codes[rule.field])
            for place, (rule, mark) in enumerate(self._plan.at_most)
        ]
        for _, _, bit, _ in limits:
            some |= bit
        if some >= 0 and not some & self._union:
            return rows, [], []
        over = list[int]()
        for row in rows if some < 0 else [row for row in rows if bits[row] & some]:
            own = bits[row]
            # products without a brand are of no brand
            groups = [
                ((place, codes[row]), n)
                for place, n, bit, codes in limits
                if (bit < 0 or own & bit) and codes[row] >= 0
            ]
            if any(counts.get(one, 0) >= n for one, n in groups):
                over.append(row)
                continue
            for one, _ in groups:
                counts[one] = counts.get(one, 0) + 1
        beyond = set(over)
        kept = [row for row in rows if row not in beyond] if over else rows
        return kept, over, [one for one, count in counts.items() if count >= limits[one[0]][1]]

    async def _full_groups(self, ranked: _Ranked) -> list[Condition]:
        """The conditions of the products of full groups."""
        limits = self._plan.at_most
        members = {
            (place, self._codes[rule.field][row]): row for place, (rule, _) in enumerate(limits) for row in ranked.rows
        }
        products = await self._asking.names([self._ids[members[one]] for one in ranked.full])
        found = list[Condition]()
        for (place, _), product in zip(ranked.full, products, strict=True):
            rule, mark = limits[place]
            name = product.brand if rule.field == "brand" else product.category
            found.append(both(mark.condition, is_one_of(rule.field, [name])))
        return found

    async def _fetch_missing(self) -> bool:
        """Asks for what the list must have and has not come yet. Returns whether anything was asked."""
        plan, queries = self._plan, list[retrieval_pb2.Query]()
        # of what was shown lately, the first question has said nothing
        if plan.pins and not (self._names_also and not self._hidden):
            known = set(self._ids)
            wanted = [
                both(is_one_of("product_id", [pin.product_id]), mark.condition)
                for pin, mark in plan.pins
                if pin.product_id not in known and pin.place <= self._k
            ]
            if wanted:
                queries.append(self._further(len(wanted), plan.where(either(*wanted))))
        for one in plan.needed:
            if self._lacks(one) and not (self._names_also and not self._hidden and one.rule in plan.complete):
                queries.append(self._further(one.count(self._k), plan.where(one.mark.condition)))
        for query, found in zip(queries, await asyncio.gather(*map(self._asking.ask, queries)), strict=True):
            self._take_in(found, query.k)
        return bool(queries)

    def _lacks(self, one: Needed) -> bool:
        excluded, bits, missing = self._plan.excluded_bit, self._bits, one.count(self._k)
        bit = one.mark.bit or -1
        if bit >= 0 and not bit & self._union:
            return True
        for rows in (self._own, self._also):
            for row in rows:
                own = bits[row]
                if (own & bit or bit < 0) and not own & excluded:
                    missing -= 1
                    if missing <= 0:
                        return False
        return True

    def _further(self, k: int, where: str) -> retrieval_pb2.Query:
        """A question of the caller's own filters and exclusions."""
        query = retrieval_pb2.Query()
        query.CopyFrom(self._asking.query)
        del query.excluded_ids[self._own_excluded :]
        query.k, query.diversity, query.filter.where = min(k, _MAX_K), 0.0, where
        return query

    def _place(self, ranked: _Ranked) -> tuple[list[int], dict[int, str]]:
        """The rows of the list in their order, and which rule moved each."""
        placed_by, pins, bits = ranked.moved, ranked.pins, self._bits
        pinned = {row for _, row, _ in pins}
        others = [row for row in ranked.rows if row not in pinned] if pinned else ranked.rows
        length = min(self._k, len(ranked.rows))
        size = max(0, length - len(pins))
        body, rest = others[:size], others[size:]
        protected = set[int]()
        for one in self._plan.needed:
            count, holds, there = one.count(length), one.mark.holds, 0
            bit = one.mark.bit or -1
            for row in body:
                if bits[row] & bit or bit < 0:
                    protected.add(row)
                    there += 1
                    if there >= count:
                        break
            lacking = count - there
            if lacking > 0:
                lacking -= sum(holds(bits[row]) for row in pinned)
            if lacking > 0:
                spare = [row for row in [*rest, *self._named(pinned)] if holds(bits[row])]
                for row in [row for row in spare if row not in body][:lacking]:
                    if _bring(row, body, protected):
                        placed_by[row] = one.rule
        for place, row, rule in pins:
            body.insert(min(place - 1, len(body)), row)
            placed_by[row] = rule
        return body, placed_by

    def _named(self, pinned: Collection[int]) -> list[int]:
        """The rows of products that `also` has named, that may be shown, and that no list has taken yet."""
        own, excluded = {self._ids[row] for row in self._own}, self._plan.excluded_bit
        return [
            row
            for row in self._also
            if row not in pinned and not self._bits[row] & excluded and self._ids[row] not in own
        ]

    def _pins(self) -> list[_Pinned]:
        """Place, row and rule of the pins, by place; the first rule counts where two want a place or a product."""
        excluded, bits = self._plan.excluded_bit, self._bits
        wanted = self._plan.pinned_ids
        # a product of `also` that a later answer has ranked is that row
        row_of = {self._ids[row]: row for row in (*self._also, *self._own) if self._ids[row] in wanted}
        places, rows = dict[int, tuple[int, str]](), set[int]()
        for pin, mark in self._plan.pins:
            row = row_of.get(pin.product_id)
            if row is None or row in rows or pin.place in places or pin.place > self._k:
                continue
            if bits[row] & excluded or not mark.holds(bits[row]):
                continue
            places[pin.place] = (row, pin.name)
            rows.add(row)
        return [(place, *found) for place, found in sorted(places.items())]

    async def _sorted(self, ids: Sequence[str], hits: Hits) -> Hits:
        """The products of the list in the caller's order."""
        query = self._further(len(ids), self._plan.where(is_one_of("product_id", list(ids))))
        query.sort, query.marks = self._sort, ""
        ordered = wire.unpack_ids((await self._asking.ask(query)).packed_ids)
        places = {one: place for place, one in enumerate(ids)}
        # a product that has been hidden since is gone
        return take(hits, np.array([places[one] for one in ordered], np.int64))


def _bring(row: int, body: list[int], protected: set[int]) -> bool:
    """Puts a row in the place of the last one that no rule needs. Returns False if all are needed."""
    place = next((at for at in reversed(range(len(body))) if body[at] not in protected), None)
    if place is None:
        return False
    body[place] = row
    protected.add(row)
    return True
