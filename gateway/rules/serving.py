"""Answers lists by the rules in force."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping

from gateway.clients.deadline import Deadline
from gateway.clients.retrieval import Retrieval
from gateway.history.clock import SharedClock
from gateway.rules.book import InForce, RuleBook
from gateway.rules.engine import Asking, Ruled, apply
from gateway.rules.plans import Plan, RulePlans, SlotRules
from gateway.rules.shown import ShownProducts
from twotower.conditions.language import Fact
from twotower.errors import DeadlineExceeded, Overloaded, TwoTowerError, Unavailable
from twotower.pb import retrieval_pb2
from twotower.serving import wire

log = logging.getLogger(__name__)

_HOUR_MS = 3_600_000
# popular products that rules ask for are looked up again after so long, and so many for one rule
_POPULAR_SECONDS, _MAX_POPULAR = 1.0, 50
Facts = Callable[[], Mapping[str, Fact]]


class LiveRules:
    """The plans of the rules in force, or those of a draft."""

    def __init__(
        self,
        book: RuleBook,
        shown: ShownProducts,
        retrieval: Retrieval,
        clock: SharedClock,
        draft: RulePlans | None = None,
    ) -> None:
        self._book, self._shown, self._retrieval, self._clock, self._draft = book, shown, retrieval, clock, draft
        self._current, self._plans = InForce(), RulePlans(InForce().rules)
        self._tasks: set[asyncio.Task[None]] = set()

    def with_plans(self, draft: RulePlans) -> LiveRules:
        """The same with other rules."""
        return LiveRules(self._book, self._shown, self._retrieval, self._clock, draft)

    async def find(self, slot: str, owner: str | None, asking: Asking, facts: Facts, deadline: Deadline) -> Ruled:
        """The list of a slot, as the rules have it. `owner`: who was shown lists, None if nobody is known."""
        acting = self._at(slot)
        plan = None if acting is None else acting.plan(facts() if acting.needs_facts else {})
        if plan is None:
            return Ruled(await asking.first(asking.query))
        if plan.needed and self._draft is None and time.monotonic() >= plan.popular_until:
            self._look_up(plan)
        if not plan.repeats or owner is None:
            return await apply(plan, asking)
        now_ms = self._clock.good_ms()
        try:
            found = await self._shown.read(owner, deadline.share(0.5))
        except (Unavailable, DeadlineExceeded, Overloaded) as error:
            ruled = await apply(plan, asking)
            return ruled._replace(warnings=[*ruled.warnings, f"products may be shown again: {error}"])
        starts = [now_ms - round(hours * _HOUR_MS) for _, hours in plan.repeats]
        return await apply(plan, asking, [found.since(start) for start in starts])

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

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _at(self, slot: str) -> SlotRules | None:
        plans = self._draft
        if plans is None:
            if self._current is not self._book.current:
                self._current = self._book.current
                self._plans = RulePlans(self._current.rules)
            plans = self._plans
        return plans.at(slot, self._clock.good_ms())

    def _look_up(self, plan: Plan) -> None:
        """Starts to look up the popular products that a plan needs; lists go on with what is known."""
        plan.popular_until = time.monotonic() + _POPULAR_SECONDS
        task = asyncio.create_task(self._find_popular(plan))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _find_popular(self, plan: Plan) -> None:
        popular, complete, deadline = dict[str, list[str]](), list[str](), Deadline.after(1.0)
        try:
            for one in plan.needed:
                count = one.count(_MAX_POPULAR)
                wanted = retrieval_pb2.Filter(where=plan.where(one.mark.condition))
                query = retrieval_pb2.Query(k=count, filter=wanted)
                found = wire.unpack_ids((await self._retrieval.popular(query, "", deadline)).packed_ids)
                popular[one.rule] = found
                if len(found) < count or not one.share:
                    complete.append(one.rule)
        except TwoTowerError as error:
            log.debug("the popular products of rules are not known: %s", error)
            return
        plan.use(popular, complete)
