"""Makes a list as a plan has it: min(k, allowed) products, none twice, all within the caller's own filters.

The retrieval service is asked for some more products than the list has, and says which conditions each fulfils. Only if
that does not do, it is asked once more, for what is missing: every product comes from an answer to the caller's query,
under the caller's filters and exclusions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import NamedTuple

import numpy as np

from gateway.clients.hits import join, marks_of, names_of, take
from gateway.clients.services import Hits
from gateway.rules.plans import Mark, Plan
from twotower.arrays import Int64, Mask
from twotower.conditions import ALWAYS, NEVER, Condition, both, either, is_one_of, negated
from twotower.pb import retrieval_pb2
from twotower.serving import wire

# products asked for beyond the list: what is boosted comes from among these
DEPTH = 50
# the longest list that the retrieval service gives
_MAX_K = 1000
# how often full brands or categories are left out before products of these fill a list
_ROUNDS = 3

Ask = Callable[[retrieval_pb2.Query], Awaitable[Hits]]


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


class _Ranked(NamedTuple):
    """Rows of a pool in the order of a list, and how many of them come before those that only fill it up."""

    rows: list[int]
    good: int
    full: list[tuple[int, str]]
    placed_by: dict[int, str]
    # place, row and rule, by place
    pins: list[tuple[int, int, str]]


async def apply(plan: Plan, asking: Asking, shown: Sequence[Collection[str]] = ()) -> Ruled:
    """The list of a query. `shown`: of each rule of `plan.repeats`, the products that were shown lately."""
    making = _Making(plan, asking.query, asking.ask, shown)
    await making.fill(asking.first)
    return await making.finish()


class _Making:
    """A list that is being made: the products so far, in the order in which they came."""

    def __init__(self, plan: Plan, asked: retrieval_pb2.Query, ask: Ask, shown: Sequence[Collection[str]]) -> None:
        self._plan, self._asked, self._ask, self._shown = plan, asked, ask, shown
        # the caller's sort is the order of the whole list, after all that rules do
        self._sort, self._k = asked.sort, asked.k
        self._pool: Hits
        self._rows: dict[str, int] = {}
        self._followers: set[str] = set()
        pairs = list(zip(plan.repeats, shown, strict=False))
        # left out by their ids, which costs the least, or by a condition that holds for some of them
        self._hidden = {one for (mark, _), ids in pairs if mark.condition == ALWAYS for one in ids}
        self._repeats = [
            both(mark.condition, is_one_of("product_id", sorted(ids)))
            for (mark, _), ids in pairs
            if mark.condition != ALWAYS and ids
        ]

    async def fill(self, first: Ask) -> None:
        """Asks until the list is full, or no other product is left."""
        query, is_diverse = self._query(), bool(self._asked.diversity)
        query.excluded_ids.extend(self._hidden.difference(query.excluded_ids))
        # a diverse list costs the square of its length, and each of its products depends on those before it
        query.k = self._k if is_diverse else min(self._k + DEPTH, _MAX_K)
        if is_diverse:
            query.filter.where = self._plan.allowed
        self._pool = await first(query)
        self._note(self._pool)
        is_all, ranked = len(self._pool.scores) < query.k, self._ranked()
        if ranked.good < self._k and not is_all and (self._plan.excluded != NEVER or self._repeats):
            query.filter.where = self._plan.where(*map(negated, self._repeats))
            is_all, ranked = await self._add(query), self._ranked()
        for _ in range(_ROUNDS):
            if ranked.good >= self._k or is_all or not ranked.full:
                break
            full = self._full_groups(ranked)
            query.filter.where = self._plan.where(*map(negated, self._repeats), *map(negated, full))
            is_all = await self._add(query)
            ranked = self._ranked()
        if len(ranked.rows) < self._k and (self._hidden or self._repeats or self._plan.at_most):
            # what was shown lately is better than nothing, and so is one more of a brand
            query = self._query()
            query.filter.where = self._plan.allowed
            await self._add(query)

    async def finish(self) -> Ruled:
        """The list, with what it must have."""
        await self._fetch_missing()
        ranked = self._ranked()
        chosen, placed_by = self._placed(ranked)
        hits = take(self._pool, np.array(chosen, np.int64))
        ids = wire.unpack_ids(hits.packed_ids)
        if self._sort and ids:
            hits = await self._sorted(ids, hits)
            ids = wire.unpack_ids(hits.packed_ids)
        by_row = list(self._rows)
        placed = {by_row[row]: rule for row, rule in placed_by.items()}
        followers = self._followers if self._asked.follows else None
        hits = hits._replace(followers=sum(one in self._followers for one in ids), marks=b"", brands="", categories="")
        return Ruled(hits, {one: placed[one] for one in ids if one in placed}, [], followers)

    def _query(self) -> retrieval_pb2.Query:
        query = retrieval_pb2.Query()
        query.CopyFrom(self._asked)
        query.marks, query.with_names = self._plan.marks, bool(self._plan.at_most)
        query.sort = retrieval_pb2.RELEVANCE
        return query

    def _note(self, found: Hits) -> list[int]:
        """Remembers the products of an answer. Returns the places of those that are new."""
        ids = wire.unpack_ids(found.packed_ids)
        self._followers.update(ids[: found.followers])
        new = list[int]()
        for place, one in enumerate(ids):
            if one not in self._rows:
                self._rows[one] = len(self._rows)
                new.append(place)
        return new

    async def _add(self, query: retrieval_pb2.Query) -> bool:
        """Adds the products of a query. Returns whether it has no others."""
        found = await self._ask(query)
        self._join(found)
        return len(found.scores) < query.k

    def _join(self, found: Hits) -> None:
        new = self._note(found)
        if new:
            self._pool = join([self._pool, take(found, np.array(new, np.int64))])

    def _ranked(self) -> _Ranked:
        """All products that may be shown, in the order in which a list takes them."""
        plan, marks = self._plan, marks_of(self._pool)
        rows: Int64 = np.flatnonzero(self._allowed(marks))
        boosted, moved = self._boosted(rows, marks)
        buried = self._any([mark for _, mark in plan.buried], marks)
        repeated = self._repeated(marks)
        last = repeated[boosted]
        first, later = boosted[~last], boosted[last]
        down = buried[first]
        first = np.concatenate([first[~down], first[down]])
        for name, mark in plan.buried:
            moved |= dict.fromkeys(rows[self._true(mark, marks)[rows]].tolist(), name)
        pins = self._pins(marks, set(rows.tolist()))
        pinned = [row for _, row, _ in pins]
        # they have their places: the limits count them first
        others = [row for row in first.tolist() if row not in pinned]
        kept, over, full = self._limited([*pinned, *others], marks)
        fill = [row for row in later.tolist() if row not in pinned]
        return _Ranked([*kept, *over, *fill], len(kept), full, moved, pins)

    def _boosted(self, rows: Int64, marks: Mask) -> tuple[Int64, dict[int, str]]:
        """The rows in the order of their boosted scores, and those that have moved up."""
        if not self._plan.boosts or not len(rows):
            return rows, {}
        # a place has its own score: where exploration or diversity puts a product first, it stays
        scores = np.sort(self._pool.scores[rows].astype(np.float64))[::-1]
        boosts, names = np.ones(len(rows)), dict[int, str]()
        for name, mark, factor in self._plan.boosts:
            mine = self._true(mark, marks)[rows]
            boosts[mine] *= factor
            names |= {row: name for row in rows[mine].tolist() if row not in names}
        order = np.argsort(-np.where(scores > 0, scores * boosts, scores / boosts), kind="stable")
        places = np.arange(len(rows))
        up = rows[order][places < order]
        return rows[order], {row: names[row] for row in up.tolist() if row in names}

    def _any(self, wanted: Sequence[Mark], marks: Mask) -> Mask:
        found: Mask = np.zeros(len(self._rows), np.bool_)
        for one in wanted:
            found |= self._true(one, marks)
        return found

    def _true(self, mark: Mark, marks: Mask) -> Mask:
        """Of which products the condition is true."""
        everywhere = mark.condition == ALWAYS or not self._rows
        return np.ones(len(self._rows), np.bool_) if everywhere else marks[mark.place]

    def _repeated(self, marks: Mask) -> Mask:
        """Which products were shown lately."""
        found: Mask = np.zeros(len(self._rows), np.bool_)
        for (mark, _), ids in zip(self._plan.repeats, self._shown, strict=False):
            rows = [self._rows[one] for one in ids if one in self._rows]
            found[rows] |= self._true(mark, marks)[rows]
        return found

    def _limited(self, rows: list[int], marks: Mask) -> tuple[list[int], list[int], list[tuple[int, str]]]:
        """The rows within the limits of brands and categories, those beyond, and the groups that are full."""
        limits = self._plan.at_most
        if not limits:
            return rows, [], []
        counted = [self._true(mark, marks) for _, mark in limits]
        count, pool = len(self._rows), self._pool
        names = {"brand": names_of(pool.brands, count), "category": names_of(pool.categories, count)}
        counts: dict[tuple[int, str], int] = {}
        kept, over = list[int](), list[int]()
        for row in rows:
            groups = [
                (place, name)
                for place, (rule, _) in enumerate(limits)
                # products without a brand are of no brand
                if (name := names[rule.field][row]) and counted[place][row]
            ]
            if any(counts.get(one, 0) >= limits[one[0]][0].n for one in groups):
                over.append(row)
                continue
            kept.append(row)
            for one in groups:
                counts[one] = counts.get(one, 0) + 1
        return kept, over, [one for one, count in counts.items() if count >= limits[one[0]][0].n]

    def _full_groups(self, ranked: _Ranked) -> list[Condition]:
        limits = self._plan.at_most
        return [
            both(limits[place][1].condition, is_one_of(limits[place][0].field, [name])) for place, name in ranked.full
        ]

    async def _fetch_missing(self) -> None:
        """Asks for what the list must have and has not come yet."""
        queries = list[retrieval_pb2.Query]()
        wanted = [
            both(is_one_of("product_id", [pin.product_id]), mark.condition)
            for pin, mark in self._plan.pins
            if pin.product_id not in self._rows and pin.place <= self._k
        ]
        if wanted:
            queries.append(self._further(len(wanted), self._plan.where(either(*wanted))))
        marks = marks_of(self._pool)
        for one in self._plan.needed:
            count = one.count(self._k)
            there = int((self._true(one.mark, marks) & self._allowed(marks)).sum())
            if there < count:
                queries.append(self._further(count, self._plan.where(one.mark.condition)))
        for found in await asyncio.gather(*map(self._ask, queries)):
            self._join(found)

    def _further(self, k: int, where: str) -> retrieval_pb2.Query:
        query = self._query()
        query.k, query.filter.where, query.diversity = min(k, _MAX_K), where, 0.0
        return query

    def _allowed(self, marks: Mask) -> Mask:
        is_free = self._plan.excluded == NEVER or not len(self._rows)
        return np.ones(len(self._rows), np.bool_) if is_free else ~marks[0]

    def _placed(self, ranked: _Ranked) -> tuple[list[int], dict[int, str]]:
        """The rows of the list in their order, and which rule moved each."""
        marks, placed_by = marks_of(self._pool), dict(ranked.placed_by)
        if not ranked.rows:
            return [], {}
        pins, pinned = ranked.pins, {row for _, row, _ in ranked.pins}
        others = [row for row in ranked.rows if row not in pinned]
        size = max(0, min(self._k, len(ranked.rows)) - len(pins))
        body, rest = others[:size], others[size:]
        protected = set[int]()
        for one in self._plan.needed:
            mine, count = self._true(one.mark, marks), one.count(min(self._k, len(ranked.rows)))
            there = [row for row in body if mine[row]]
            lacking = count - len(there) - sum(bool(mine[row]) for row in pinned)
            protected.update(there[:count])
            for row in [row for row in rest if mine[row]][: max(0, lacking)]:
                place = next((at for at in reversed(range(len(body))) if body[at] not in protected), None)
                if place is None:
                    break
                rest[rest.index(row)], body[place] = body[place], row
                protected.add(row)
                placed_by[row] = one.rule
        for place, row, rule in pins:
            body.insert(min(place - 1, len(body)), row)
            placed_by[row] = rule
        return body, placed_by

    def _pins(self, marks: Mask, allowed: set[int]) -> list[tuple[int, int, str]]:
        """Place, row and rule of the pins, by place; the first rule counts where two want a place or a product."""
        places, rows = dict[int, tuple[int, str]](), set[int]()
        for pin, mark in self._plan.pins:
            row = self._rows.get(pin.product_id)
            if row is None or row not in allowed or row in rows or pin.place in places or pin.place > self._k:
                continue
            if not self._true(mark, marks)[row]:
                continue
            places[pin.place] = (row, pin.name)
            rows.add(row)
        return [(place, *found) for place, found in sorted(places.items())]

    async def _sorted(self, ids: Sequence[str], hits: Hits) -> Hits:
        """The products of the list in the caller's order."""
        query = retrieval_pb2.Query()
        query.CopyFrom(self._asked)
        query.k, query.diversity = len(ids), 0.0
        query.filter.where = self._plan.where(is_one_of("product_id", list(ids)))
        ordered = wire.unpack_ids((await self._ask(query)).packed_ids)
        places = {one: place for place, one in enumerate(ids)}
        # a product that has been hidden since is gone
        return take(hits, np.array([places[one] for one in ordered], np.int64))
