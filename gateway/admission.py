"""Admission by cost: what a request will cost, and whether there is room for it.

Expensive requests have a share of their own, so they cannot keep ordinary ones out, nor slow them down for long: one
runs at a time, and the next one waits until they have taken no more than their share of the time.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import NamedTuple, TypeVar

from gateway import metrics
from gateway.clients.deadline import Deadline
from gateway.schemas.requests import ListQuery
from twotower.errors import Overloaded

Answer = TypeVar("Answer")

# A cost of 1 is that of /retrieve with k=10: about 2.7 ms of CPU over all processes (`make bench-admission` prints what
# each kind takes). A request above this cost is an expensive one.
EXPENSIVE = 4.0
# what adds a cost of 1: comparisons of a candidate with a product chosen, products with details, products excluded
_COMPARISONS, _DETAILS, _EXCLUDED = 80_000, 250, 500
# bytes of a body that add a cost of 1; /interactions may name a buyer per row, and each is a key of its own in Redis
_ENCODED_BYTES, _STORED_BYTES = 80_000, 15_000
# candidates per product wanted, and their maximum, as `twotower.search.diversity` has them
_CANDIDATES, _MAX_CANDIDATES = 4, 1000
# bytes of a body that always find room: `max_connections` of them are few
SMALL_BODY = 16 << 10
# what /suggest costs, which asks one service for a few words
SUGGEST_COST = 0.5


def cost_of_list(query: ListQuery) -> float:
    """What a list of products costs."""
    cost = 1.0
    if query.diversity:
        cost += query.k * min(_CANDIDATES * query.k, _MAX_CANDIDATES) / _COMPARISONS
    cost += len(query.include) * query.k / _DETAILS
    return cost + len(query.exclude) / _EXCLUDED


def cost_of_encode(size: int) -> float:
    """What /encode_buyer costs with a body of this many bytes."""
    return 1.0 + size / _ENCODED_BYTES


def cost_of_store(size: int) -> float:
    """What /interactions costs with a body of this many bytes."""
    return 1.0 + size / _STORED_BYTES


class AdmissionLimits(NamedTuple):
    """The limits of one worker.

    `cost` and `expensive_cost`: of the ordinary and of the expensive requests under way, the waiting ones included.
    `expensive_share`: the part of the time that expensive requests may take while ordinary ones arrive.
    `body_bytes`: of all bodies above SMALL_BODY under way.
    """

    cost: float
    expensive_cost: float
    expensive_share: float
    body_bytes: int


class _Bodies:
    """The bytes of the large bodies under way."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0


class BodyRoom:
    """Room for one body."""

    def __init__(self, bodies: _Bodies) -> None:
        self._bodies = bodies
        self._held = 0

    def need(self, size: int) -> None:
        """Holds room for `size` bytes. Raises Overloaded if there is none; a small body always finds room."""
        more = size - self._held
        if size <= SMALL_BODY or more <= 0:
            return
        if self._bodies.held + more > self._bodies.limit:
            raise _refused(
                "body",
                f"the large bodies under way have {self._bodies.held} bytes; {size} more would exceed the limit of "
                f"{self._bodies.limit}",
            )
        self._bodies.held += more
        self._held = size

    def give_back(self) -> None:
        self._bodies.held -= self._held
        self._held = 0


class Admission:
    """What is under way in one worker. Refuses with Overloaded what has no room."""

    def __init__(
        self,
        limits: AdmissionLimits,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._limits = limits
        self._clock = clock
        self._sleep = sleep
        self._ordinary = self._expensive = 0.0
        self._bodies = _Bodies(limits.body_bytes)
        # how many ordinary requests have arrived
        self._arrived = 0
        self._turn = asyncio.Lock()
        # until when the expensive requests have had their share of the time
        self._rests_until = -math.inf

    async def run(self, cost: float, deadline: Deadline, work: Callable[[], Awaitable[Answer]]) -> Answer:
        """The result of `work`, which costs `cost`. An expensive one waits for its turn, at most until `deadline`."""
        if cost > EXPENSIVE:
            async with self.admitted(cost, deadline):
                return await work()
        # an asynchronous context manager would cost a plain request 3 us
        self._begin(cost)
        try:
            return await work()
        finally:
            self._ordinary -= cost

    def check(self, cost: float) -> None:
        """Raises Overloaded if a request of this cost would be refused now: before its body is read."""
        # one alone is admitted, whatever it costs
        if cost > EXPENSIVE and self._expensive and self._expensive + cost > self._limits.expensive_cost:
            raise _refused(
                "expensive",
                f"a request that costs {cost:.0f} has to wait: those of its kind under way cost "
                f"{self._expensive:.0f}, the limit is {self._limits.expensive_cost:g}",
            )

    @asynccontextmanager
    async def admitted(self, cost: float, deadline: Deadline) -> AsyncIterator[None]:
        """Surrounds what costs `cost`, as `run` does."""
        if cost <= EXPENSIVE:
            self._begin(cost)
            try:
                yield
            finally:
                self._ordinary -= cost
            return
        self.check(cost)
        self._expensive += cost
        try:
            await self._take_turn(deadline)
            started, arrived = self._clock(), self._arrived
            try:
                yield
            finally:
                if self._arrived > arrived:
                    now = self._clock()
                    self._rests_until = now + (now - started) * (1 / self._limits.expensive_share - 1)
                self._turn.release()
        finally:
            self._expensive -= cost

    @contextmanager
    def body(self) -> Iterator[BodyRoom]:
        """Room for one body, given back at the end."""
        room = BodyRoom(self._bodies)
        try:
            yield room
        finally:
            room.give_back()

    def _begin(self, cost: float) -> None:
        self._arrived += 1
        if self._ordinary + cost > self._limits.cost:
            problem = f"the requests under way cost {self._ordinary:.0f}, the limit is {self._limits.cost:g}"
            raise _refused("ordinary", problem)
        self._ordinary += cost

    async def _take_turn(self, deadline: Deadline) -> None:
        """Waits until it may run, in the order of arrival."""
        try:
            async with asyncio.timeout(max(0.0, deadline.remaining())):
                await self._turn.acquire()
                try:
                    while (rest := self._rests_until - self._clock()) > 0:
                        await self._sleep(rest)
                except BaseException:
                    self._turn.release()
                    raise
        except TimeoutError:
            raise _refused("expensive", "other expensive requests took all the time of this one") from None


def _refused(kind: str, problem: str) -> Overloaded:
    metrics.refused(kind).inc()
    return Overloaded(problem)
