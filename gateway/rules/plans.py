"""From rules to plans: what the rules in force do to one list. Each plan is computed once and kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from gateway.schemas.rule import (
    AtMost,
    Boost,
    Bury,
    Exclude,
    FreshShare,
    Include,
    NoRepeats,
    Pin,
    PriceRange,
    Rule,
    Rules,
)
from twotower.conditions.evaluation import given
from twotower.conditions.language import ALWAYS, NEVER, Comparison, Condition, Fact, both, comparisons, either, negated
from twotower.conditions.language import FACTS as FACT_FIELDS
from twotower.conditions.parsing import write

# callers choose the slots, and their facts the plans: so many of each are kept
_KEPT = 256
_KEPT_BITS = 10_000
Kept = TypeVar("Kept")


class Mark(NamedTuple):
    """A condition that the retrieval service tries on each product of an answer, and its bit; 0: always true."""

    bit: int
    condition: Condition

    def holds(self, bits: int) -> bool:
        """Whether it is true of a product with these bits."""
        return not self.bit or bool(bits & self.bit)


class PerBits(dict[int, Kept]):
    """Bits of a product → what they amount to, worked out once."""

    def __init__(self, work_out: Callable[[int], Kept]) -> None:
        super().__init__()
        self._work_out = work_out

    def __missing__(self, bits: int) -> Kept:
        if len(self) >= _KEPT_BITS:
            self.clear()
        found = self[bits] = self._work_out(bits)
        return found


class Needed(NamedTuple):
    """Products that a list must have: so many (`n`), or this share of the places."""

    rule: str
    mark: Mark
    n: int = 0
    share: float = 0.0

    def count(self, places: int) -> int:
        """How many of a list of so many places."""
        return min(places, self.n + self.count_share(places))

    def count_share(self, places: int) -> int:
        """How many the share is of so many places."""
        return math.ceil(self.share * places - 1e-9)


@dataclass
class Plan:
    """What the rules do to one list. `marks`: the conditions as a query of the retrieval service has them; the first
    is `excluded`, if anything is. `allowed`: the opposite of `excluded`, as a filter.
    """

    excluded: Condition = NEVER
    conditions: list[Condition] = field(default_factory=list)
    boosts: list[tuple[str, Mark, float]] = field(default_factory=list)
    buried: list[tuple[str, Mark]] = field(default_factory=list)
    at_most: list[tuple[AtMost, Mark]] = field(default_factory=list)
    needed: list[Needed] = field(default_factory=list)
    pins: list[tuple[Pin, Mark]] = field(default_factory=list)
    repeats: list[tuple[Mark, float]] = field(default_factory=list)
    marks: str = ""
    allowed: str = ""
    # the products of pins and popular ones of `needed`; the first questions name them
    also: str = ""
    # the rules of `needed` all of whose products `also` names
    complete: frozenset[str] = frozenset()
    # when `also` is to be looked up again, on the monotonic clock
    popular_until: float = 0.0
    pinned_ids: frozenset[str] = frozenset()
    # the bits of all boosts; below 0 if one is of all products
    boost_bits: int = 0
    # the bits of what is buried, limited and needed; below 0 if one of them is all products
    buried_bits: int = 0
    limited_bits: int = 0
    needed_bits: int = 0

    def __post_init__(self) -> None:
        # the factor of a product's score
        self.factors = PerBits(lambda bits: math.prod(by for _, mark, by in self.boosts if mark.holds(bits)))
        # the limits of `at_most` that a product counts for: place in the plan, n and field
        self.limits: PerBits[list[tuple[int, int, str]]] = PerBits(
            lambda bits: [
                (place, rule.n, rule.field) for place, (rule, mark) in enumerate(self.at_most) if mark.holds(bits)
            ]
        )

    @property
    def excluded_bit(self) -> int:
        """The bit of what may not be shown, 0 if all may."""
        return 0 if self.excluded == NEVER else 1

    def where(self, *further: Condition) -> str:
        """The filter for products that may be shown and fulfil these conditions."""
        return write(both(negated(self.excluded), *further))

    def booster(self, bits: int) -> str:
        """The first rule that boosts a product with these bits, empty if none does."""
        return next((name for name, mark, _ in self.boosts if mark.holds(bits)), "")

    def mark(self, condition: Condition) -> Mark:
        """The condition as one that each product of an answer is tried on; one that is always true is none."""
        if condition == ALWAYS:
            return Mark(0, condition)
        if condition not in self.conditions:
            self.conditions.append(condition)
        return Mark(1 << self.conditions.index(condition), condition)

    def use(self, popular: Mapping[str, Sequence[str]], complete: Collection[str]) -> None:
        """Takes in popular products that rules of `needed` ask for."""
        ids = [pin.product_id for pin, _ in self.pins] + [one for several in popular.values() for one in several]
        self.also, self.complete = "\0".join(dict.fromkeys(ids)), frozenset(complete)


def compile_plan(rules: list[Rule], facts: Mapping[str, Fact]) -> Plan | None:
    """The plan of these rules, in their order, when these facts are known; None if they do nothing."""
    conditions = [(one, given(one.condition, facts)) for one in rules]
    acting = [(one, condition) for one, condition in conditions if condition != NEVER]
    if not acting:
        return None
    plan = Plan(either(*(exclusion(one, condition) for one, condition in acting)))
    if plan.excluded not in (NEVER, ALWAYS):
        plan.mark(plan.excluded)
    for one, condition in acting:
        _add(plan, one, condition)
    # the separator of `marks` stands in no condition: texts are written as JSON
    plan.marks = "\n".join(map(write, plan.conditions))
    plan.allowed = plan.where()
    plan.pinned_ids = frozenset(pin.product_id for pin, _ in plan.pins)
    plan.boost_bits = _bits_of(mark for _, mark, _ in plan.boosts)
    plan.buried_bits = _bits_of(mark for _, mark in plan.buried)
    plan.limited_bits = _bits_of(mark for _, mark in plan.at_most)
    plan.needed_bits = _bits_of(one.mark for one in plan.needed)
    plan.use({}, ())
    return plan


def _bits_of(marks: Iterable[Mark]) -> int:
    """The bits of these; below 0 if one is always true."""
    bits = 0
    for one in marks:
        bits |= one.bit or -1
    return bits


def exclusion(rule: Rule, condition: Condition) -> Condition:
    """What the rule forbids."""
    if isinstance(rule, Exclude):
        return condition
    if isinstance(rule, PriceRange):
        limits = [Comparison("price", ">=", (rule.min,))] if rule.min is not None else []
        limits += [Comparison("price", "<=", (rule.max,))] if rule.max is not None else []
        return both(condition, negated(both(*limits)))
    return NEVER


def _add(plan: Plan, rule: Rule, condition: Condition) -> None:
    match rule:
        case Boost():
            plan.boosts.append((rule.name, plan.mark(condition), rule.factor))
        case Bury():
            plan.buried.append((rule.name, plan.mark(condition)))
        case AtMost():
            plan.at_most.append((rule, plan.mark(condition)))
        case Include():
            plan.needed.append(Needed(rule.name, plan.mark(condition), n=rule.n))
        case FreshShare():
            fresh = both(condition, Comparison("age_days", "<=", (rule.days,)))
            plan.needed.append(Needed(rule.name, plan.mark(fresh), share=rule.share))
        case Pin():
            plan.pins.append((rule, plan.mark(condition)))
        case NoRepeats():
            plan.repeats.append((plan.mark(condition), rule.hours))
        case Exclude() | PriceRange():
            pass


class SlotRules:
    """The rules that act on a slot until a moment, `until_ms`."""

    def __init__(self, rules: list[Rule], until_ms: float) -> None:
        self.rules, self.until_ms = rules, until_ms
        asked = [one for rule in rules for one in comparisons(rule.condition) if one.field in FACT_FIELDS]
        self._asked = list(dict.fromkeys(asked))
        # the hours count for what is kept, whoever the buyer is
        self.hours = max((one.hours for one in rules if isinstance(one, NoRepeats)), default=0.0)
        self._plans: dict[tuple[bool, ...], Plan | None] = {}

    @property
    def needs_facts(self) -> bool:
        """Whether a rule depends on the buyer or the request."""
        return bool(self._asked)

    def plan(self, facts: Mapping[str, Fact]) -> Plan | None:
        """What the rules do for these facts; None if nothing."""
        key = tuple(given(one, facts) == ALWAYS for one in self._asked)
        if key not in self._plans:
            if len(self._plans) >= _KEPT:
                self._plans.clear()
            self._plans[key] = compile_plan(self.rules, facts)
        return self._plans[key]


class RulePlans:
    """The plans of one version of the rules."""

    def __init__(self, rules: Rules) -> None:
        self._rules = [one for one in rules.rules if one.enabled]
        self._slots: dict[str, SlotRules] = {}

    def at(self, slot: str, now_ms: int) -> SlotRules | None:
        """The rules that act on a slot now; None if there are none."""
        found = self._slots.get(slot)
        if found is None or now_ms >= found.until_ms:
            if len(self._slots) >= _KEPT:
                self._slots.clear()
            found = self._slots[slot] = self._now(slot, now_ms)
        return found if found.rules else None

    def _now(self, slot: str, now_ms: int) -> SlotRules:
        acting, changes = list[Rule](), [math.inf]
        for one in self._rules:
            if not one.covers(slot):
                continue
            start = -math.inf if one.from_ is None else one.from_.timestamp() * 1000
            end = math.inf if one.until is None else one.until.timestamp() * 1000
            changes += [moment for moment in (start, end) if moment > now_ms]
            if start <= now_ms < end:
                acting.append(one)
        return SlotRules(acting, min(changes))
