"""Answers lists by the rules in force."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from gateway.clients.deadline import Deadline
from gateway.history.clock import SharedClock
from gateway.rules.book import InForce, RuleBook
from gateway.rules.engine import Asking, Ruled, apply
from gateway.rules.plans import RulePlans, SlotRules
from gateway.rules.shown import ShownProducts
from twotower.conditions import Fact
from twotower.errors import DeadlineExceeded, Overloaded, Unavailable

log = logging.getLogger(__name__)

_HOUR_MS = 3_600_000
Facts = Callable[[], Mapping[str, Fact]]


class LiveRules:
    """The plans of the rules in force, or those of a draft."""

    def __init__(
        self, book: RuleBook, shown: ShownProducts, clock: SharedClock, draft: RulePlans | None = None
    ) -> None:
        self._book, self._shown, self._clock, self._draft = book, shown, clock, draft
        self._current, self._plans = InForce(), RulePlans(InForce().rules)

    def with_plans(self, draft: RulePlans) -> LiveRules:
        """The same with other rules."""
        return LiveRules(self._book, self._shown, self._clock, draft)

    async def find(
        self,
        slot: str,
        owner: str | None,
        asking: Asking,
        facts: Facts,
        deadline: Deadline,
    ) -> Ruled:
        """The list of a slot, as the rules have it. `owner`: who was shown lists, None if nobody is known."""
        acting = self._at(slot)
        plan = None if acting is None else acting.plan(facts() if acting.needs_facts else {})
        if plan is None:
            return Ruled(await asking.first(asking.query))
        warnings, shown = list[str](), list[frozenset[str]]()
        if plan.repeats and owner is not None:
            now_ms = self._clock.good_ms()
            try:
                found = await self._shown.read(owner, deadline.share(0.5))
                starts = [now_ms - round(hours * _HOUR_MS) for _, hours in plan.repeats]
                shown = [frozenset(found.since(start)) for start in starts]
            except (Unavailable, DeadlineExceeded, Overloaded) as error:
                warnings.append(f"products may be shown again: {error}")
        ruled = await apply(plan, asking, shown)
        return ruled._replace(warnings=[*warnings, *ruled.warnings])

    async def note_shown(self, slot: str, owner: str | None, product_ids: Callable[[], list[str]]) -> None:
        """Notes what a list has shown, if a rule of its slot asks for it."""
        acting = self._at(slot)
        if acting is None or not acting.hours or owner is None or not (ids := product_ids()):
            return
        try:
            await self._shown.add(owner, ids, self._clock.good_ms(), acting.hours, Deadline.after(0.5))
        except (Unavailable, DeadlineExceeded, Overloaded) as error:
            # the list is good, and the next one may repeat it
            log.warning("what was shown is not noted: %s", error)

    def _at(self, slot: str) -> SlotRules | None:
        plans = self._draft
        if plans is None:
            if self._current is not self._book.current:
                self._current = self._book.current
                self._plans = RulePlans(self._current.rules)
            plans = self._plans
        return plans.at(slot, self._clock.good_ms())
