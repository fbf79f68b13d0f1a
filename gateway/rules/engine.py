"""Makes a list as a plan has it: min(k, allowed) products, none twice, all within the caller's own filters.

The retrieval service is asked for some more products than the list has, and says which conditions each fulfils. Only if
that does not do, it is asked once more, for what is missing: every product comes from an answer to the caller's query,
under the caller's filters and exclusions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from gateway.clients.answers import Hits
from gateway.clients.hits import take
from gateway.rules.answers import Answers
from gateway.rules.placing import arrange, lacks
from gateway.rules.plans import Plan
from gateway.rules.ranking import Ranked, rank
from twotower.conditions.language import ALWAYS, NEVER, Condition, both, either, is_one_of, negated
from twotower.conditions.parsing import write
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
    placed_by: Mapping[str, str] = MappingProxyType({})
    warnings: list[str] = []  # noqa: RUF012  (nobody writes to it)
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
    # of a list that holds only some products (what a buyer buys again): answers with any product that rules bring
    any_product: Ask | None = None


async def apply(plan: Plan, asking: Asking, shown: Sequence[Collection[str]] = ()) -> Ruled:
    """The list of a query, which is changed. `shown`: of each rule of `plan.repeats`, what was shown lately."""
    if plan.excluded == ALWAYS:
        asking.query.filter.where = write(NEVER)
        return Ruled(await asking.ask(asking.query))
    making = _Making(plan, asking, shown)
    return await making.finish(await making.fill())


class _Making:
    """A list that is being made."""

    def __init__(self, plan: Plan, asking: Asking, shown: Sequence[Collection[str]]) -> None:
        self._plan, self._asking = plan, asking
        asked = asking.query
        # the caller's sort is the order of the whole list, after all that rules do
        self._k, self._sort, self._diversity = asked.k, asked.sort, asked.diversity
        self._own_excluded = len(asked.excluded_ids)
        self._answers = Answers()
        pairs = list(zip(plan.repeats, shown, strict=False))
        # left out by their ids, which costs the least, or by a condition that holds for some of them
        self._hidden = frozenset[str]().union(*(ids for (mark, _), ids in pairs if not mark.bit))
        self._repeated = [(mark, frozenset(ids)) for (mark, _), ids in pairs if ids]

    async def fill(self) -> Ranked:
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
        is_all, ranked = self._answers.take_in(found, query.k), self._rank()
        if ranked.good >= self._k:
            return ranked
        repeats = [
            both(mark.condition, is_one_of("product_id", sorted(ids))) for mark, ids in self._repeated if mark.bit
        ]
        if not is_all and (plan.excluded != NEVER or repeats):
            query.filter.where = plan.where(*map(negated, repeats))
            is_all, ranked = self._answers.take_in(await ask(query), query.k), self._rank()
        for _ in range(_ROUNDS):
            if ranked.good >= self._k or is_all or not ranked.full:
                break
            full = await self._full_groups(ranked)
            query.filter.where = plan.where(*map(negated, repeats), *map(negated, full))
            is_all, ranked = self._answers.take_in(await ask(query), query.k), self._rank()
        if len(ranked.rows) < self._k and (self._hidden or repeats or plan.at_most):
            # what was shown lately is better than nothing
            more = self._further(self._k, plan.allowed)
            more.diversity = self._diversity
            self._answers.take_in(await ask(more), more.k)
            ranked = self._rank()
        return ranked

    async def finish(self, ranked: Ranked) -> Ruled:
        """The list, with what it must have."""
        if await self._fetch_missing():
            ranked = self._rank()
        answers = self._answers
        chosen, placed = arrange(self._plan, answers, ranked, self._k)
        hits = answers.hits(chosen)
        followers: set[str] | None = None
        if self._asking.query.follows:
            followers = {one for part in answers.parts for one in wire.unpack_ids(part.packed_ids)[: part.followers]}
            hits = hits._replace(followers=sum(answers.ids[row] in followers for row in chosen))
        if self._sort and chosen:
            hits = await self._sorted([answers.ids[row] for row in chosen], hits)
        return Ruled(hits, placed, [], followers)

    @property
    def _names_also(self) -> bool:
        """Whether the first question may name products; what puts the answer in another order must not meet them."""
        return self._asking.first is self._asking.ask and self._asking.any_product is None

    async def _ask_any(self, query: retrieval_pb2.Query) -> Hits:
        """Asks for products whether or not the list itself holds them; of those that it lacks, none has a score."""
        if self._asking.any_product is None:
            return await self._asking.ask(query)
        found = await self._asking.any_product(query)
        return found._replace(scores=np.zeros_like(found.scores), also=len(found.scores))

    def _rank(self) -> Ranked:
        return rank(self._plan, self._answers, self._repeated, self._k)

    async def _full_groups(self, ranked: Ranked) -> list[Condition]:
        """The conditions of the products of full groups."""
        limits = self._plan.at_most
        members = {
            (place, self._answers.codes[rule.field][row]): row
            for place, (rule, _) in enumerate(limits)
            for row in ranked.rows
        }
        products = await self._asking.names([self._answers.ids[members[one]] for one in ranked.full])
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
            known = set(self._answers.ids)
            wanted = [
                both(is_one_of("product_id", [pin.product_id]), mark.condition)
                for pin, mark in plan.pins
                if pin.product_id not in known and pin.place <= self._k
            ]
            if wanted:
                queries.append(self._further(len(wanted), plan.where(either(*wanted))))
        for one in plan.needed:
            is_complete = self._names_also and not self._hidden and one.rule in plan.complete
            if not is_complete and lacks(plan, self._answers, one, self._k):
                queries.append(self._further(one.count(self._k), plan.where(one.mark.condition)))
        if not queries:
            return False
        for query, found in zip(queries, await asyncio.gather(*map(self._ask_any, queries)), strict=True):
            self._answers.take_in(found, query.k)
        return True

    def _further(self, k: int, where: str) -> retrieval_pb2.Query:
        """A question of the caller's own filters and exclusions."""
        query = retrieval_pb2.Query()
        query.CopyFrom(self._asking.query)
        del query.excluded_ids[self._own_excluded :]
        query.k, query.diversity, query.filter.where = min(k, _MAX_K), 0.0, where
        return query

    async def _sorted(self, ids: Sequence[str], hits: Hits) -> Hits:
        """The products of the list in the caller's order."""
        query = self._further(len(ids), self._plan.where(is_one_of("product_id", list(ids))))
        query.sort, query.marks = self._sort, ""
        ordered = wire.unpack_ids((await self._ask_any(query)).packed_ids)
        places = {one: place for place, one in enumerate(ids)}
        # a product that has been hidden since is gone
        return take(hits, np.array([places[one] for one in ordered], np.int64))
