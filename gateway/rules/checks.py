"""Warns of rules that can never act, or that contradict one another."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import combinations
from typing import NamedTuple

from gateway.clients.answers import Hits
from gateway.clients.deadline import Deadline
from gateway.clients.retrieval import Retrieval
from gateway.rules.book import InForce
from gateway.rules.plans import exclusion
from gateway.schemas.rule import Boost, Bury, Exclude, NoRepeats, Pin, PriceRange, Rule
from twotower.conditions.evaluation import products_of
from twotower.conditions.language import ALWAYS, NEVER, Condition, both, comparisons, has_facts, is_one_of, negated
from twotower.conditions.parsing import write
from twotower.errors import TwoTowerError
from twotower.pb import retrieval_pb2


class RuleWarning(NamedTuple):
    """A rule and what is wrong with it; `line` of the file, None for rules that are in none."""

    rule: str
    line: int | None
    message: str


class RuleChecks:
    """Asks the retrieval service what conditions match in the served version."""

    def __init__(self, retrieval: Retrieval) -> None:
        self._retrieval = retrieval

    async def warnings(self, found: InForce, deadline: Deadline) -> list[RuleWarning]:
        """In the order of the rules; a rule that is switched off has none."""
        rules = [one for one in found.rules.rules if one.enabled]
        windows = {one.name: message for one in rules if (message := _window(one, datetime.now(UTC)))}
        live = [one for one in rules if one.name not in windows]
        messages: dict[str, list[str]] = {one.name: [] for one in rules}
        for name, message in windows.items():
            messages[name].append(message)
        for first, second in combinations(live, 2):
            if first.meets(second) and (message := _contradiction(first, second)):
                messages[second.name].append(message)
        try:
            matched = await asyncio.gather(*(self._unmatched(one, live, deadline) for one in live))
        except TwoTowerError as error:
            return [*_listed(messages, found.lines), RuleWarning("", None, f"conditions are not checked: {error}")]
        for one, more in zip(live, matched, strict=True):
            messages[one.name] += more
        return _listed(messages, found.lines)

    async def _unmatched(self, rule: Rule, rules: Sequence[Rule], deadline: Deadline) -> list[str]:
        """Why no product can be meant by a rule; nothing if some can."""
        condition = products_of(rule.condition)
        if condition == NEVER:
            return ["its condition is never true"]
        named = await self._unknown_names(condition, deadline)
        if isinstance(rule, Pin):
            condition = both(condition, is_one_of("product_id", [rule.product_id]))
        if condition == ALWAYS and not named:
            return []
        if not await self._has(condition, deadline):
            what = f"the product {rule.product_id!r} is not known" if isinstance(rule, Pin) else "no product matches"
            is_limited = isinstance(rule, Pin) and rule.when
            return [*named, f"{what}, or its condition is not true of it" if is_limited else what]
        if isinstance(rule, (Exclude, PriceRange, NoRepeats)):
            return named
        return [*named, *await self._excluding(rule, condition, rules, deadline)]

    async def _excluding(
        self, rule: Rule, condition: Condition, rules: Sequence[Rule], deadline: Deadline
    ) -> list[str]:
        """The rules that forbid all that a rule is about. One that depends on the buyer may leave it to others."""
        messages = []
        for other in rules:
            forbidden = exclusion(other, products_of(other.condition))
            if forbidden == NEVER or not rule.meets(other) or has_facts(other.condition):
                continue
            if not await self._has(both(condition, negated(forbidden)), deadline):
                what = "the product is" if isinstance(rule, Pin) else "all products that match are"
                messages.append(f"contradicts {other.name!r}: {what} excluded")
        return messages

    async def _unknown_names(self, condition: Condition, deadline: Deadline) -> list[str]:
        """The brands, categories and products of a condition that no product has."""
        values: dict[str, list[str]] = {"brand": [], "category": [], "product_id": []}
        for one in comparisons(condition):
            if one.field in values:
                values[one.field] += map(str, one.values)
        names = retrieval_pb2.Filter(brands=values["brand"], categories=values["category"])
        found, products = await asyncio.gather(
            self._ask(names, deadline),
            self._retrieval.lookup(values["product_id"], "", deadline),
        )
        lost = [f"product_id={one.product_id}" for one in products if not one.found]
        return [f"no product has {one}" for one in [*found.unknown_filter_values, *lost]]

    async def _has(self, condition: Condition, deadline: Deadline) -> bool:
        found = await self._ask(retrieval_pb2.Filter(where=write(condition)), deadline)
        return bool(len(found.scores))

    async def _ask(self, wanted: retrieval_pb2.Filter, deadline: Deadline) -> Hits:
        return await self._retrieval.popular(retrieval_pb2.Query(k=1, filter=wanted), "", deadline)


def _window(rule: Rule, now: datetime) -> str:
    """Why a rule has no time to act; empty if it has."""
    if rule.from_ is not None and rule.until is not None and rule.from_ >= rule.until:
        return f"its window is empty: it ends {rule.until.isoformat()} and begins {rule.from_.isoformat()}"
    if rule.until is not None and rule.until <= now:
        return f"its window is past: it ended {rule.until.isoformat()}"
    return ""


def _contradiction(first: Rule, second: Rule) -> str:
    """Why the second of two rules that act together is void in part; empty if it is not."""
    if isinstance(first, Pin) and isinstance(second, Pin):
        if first.place == second.place and first.product_id != second.product_id:
            return f"contradicts {first.name!r}: both want place {first.place}, and the first rule counts"
        if first.product_id == second.product_id and first.place != second.place:
            return f"contradicts {first.name!r}: the same product at place {first.place}, and the first rule counts"
    if {type(first), type(second)} == {Boost, Bury} and first.condition == second.condition:
        return f"contradicts {first.name!r}: it buries what the other boosts"
    return ""


def _listed(messages: Mapping[str, Sequence[str]], lines: Mapping[str, int]) -> list[RuleWarning]:
    return [RuleWarning(name, lines.get(name), message) for name, several in messages.items() for message in several]
