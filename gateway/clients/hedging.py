"""Hedged calls: a read that is not answered soon is sent again, to another replica, and the first answer counts.

gRPC's own hedging policy is not implemented in the library under its Python package (1.85): only its retries are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from gateway import metrics
from twotower.errors import DeadlineExceeded, Overloaded, Unavailable

Result = TypeVar("Result")
# attempts at one call, the first included
_ATTEMPTS = 4
# of many calls this share may be hedged; a replica that hangs needs some at once
_SHARE, _BURST = 0.1, 30.0
# another replica may still answer after one of these; every other error is the answer
_PASSING = (Unavailable, Overloaded, DeadlineExceeded)


class Hedging:
    """Hedges the calls of one service after `after` seconds. Only for calls that may be repeated, such as reads.

    At most a tenth of the calls are hedged, after a burst of 30: a service that is slow because it is overloaded must
    not get its load twice.
    """

    def __init__(self, name: str, after: float) -> None:
        """Errors call the service `name`."""
        self._name = name
        self._after = after
        self._allowed = _BURST
        self._hedges = metrics.HEDGES.labels(name)

    async def call(
        self, attempt: Callable[[], Coroutine[Any, Any, Result]], timeout: float, *, is_expensive: bool = False
    ) -> Result:
        """The first answer of `attempt`, which takes turns over the replicas, within `timeout` seconds.

        An expensive call is not hedged. Raises DeadlineExceeded, or the error of the last attempt that fails; an error
        that another replica would repeat is raised at once. Attempts that are not needed any more are cancelled.
        """
        if timeout <= 0:
            raise DeadlineExceeded(f"no time is left to ask {self._name}")
        self._allowed = min(_BURST, self._allowed + _SHARE)
        race = _Race(attempt, self, 1 if is_expensive else _ATTEMPTS, timeout)
        return await race.run()

    def take(self) -> bool:
        """True if one more attempt is within the limit."""
        if self._allowed < 1:
            return False
        self._allowed -= 1
        self._hedges.inc()
        return True

    @property
    def after(self) -> float:
        """Seconds after which an attempt is late."""
        return self._after

    def late(self) -> DeadlineExceeded:
        return DeadlineExceeded(f"{self._name} did not answer in time")


class _Race(Generic[Result]):
    """The attempts at one call."""

    def __init__(
        self, attempt: Callable[[], Coroutine[Any, Any, Result]], hedging: Hedging, attempts: int, timeout: float
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._attempt = attempt
        self._hedging = hedging
        self._left = attempts
        self._until = self._loop.time() + timeout
        self._answer: asyncio.Future[Result] = self._loop.create_future()
        self._running = set[asyncio.Task[Result]]()
        self._timer: asyncio.TimerHandle | None = None

    async def run(self) -> Result:
        self._start()
        try:
            return await self._answer
        finally:
            if self._timer:
                self._timer.cancel()
            for task in self._running:
                task.cancel()

    def _start(self) -> None:
        self._left -= 1
        task = self._loop.create_task(self._attempt())
        self._running.add(task)
        task.add_done_callback(self._done)
        hedge_at = self._loop.time() + self._hedging.after
        is_last = not self._left or hedge_at >= self._until
        self._timer = self._loop.call_at(self._until if is_last else hedge_at, self._ring, is_last)

    def _ring(self, is_last: bool) -> None:
        if self._answer.done():
            return
        if is_last:
            self._answer.set_exception(self._hedging.late())
        elif self._hedging.take():
            self._start()
        else:
            self._timer = self._loop.call_at(self._until, self._ring, True)

    def _done(self, task: asyncio.Task[Result]) -> None:
        self._running.discard(task)
        error = None if task.cancelled() else task.exception()
        if self._answer.done() or task.cancelled():
            return
        if error is None:
            self._answer.set_result(task.result())
        elif not self._running or not isinstance(error, _PASSING):
            self._answer.set_exception(error)
