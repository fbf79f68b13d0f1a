"""Batches concurrent calls: those that arrive while a batch is under way form the next one."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from gateway import metrics
from gateway.clients.deadline import Deadline
from twotower.errors import DeadlineExceeded, InvalidInput, Overloaded, Unavailable
from twotower.serving import telemetry, tracing

log = logging.getLogger(__name__)

Request = TypeVar("Request")
Result = TypeVar("Result")
# one header carries the request ids of a batch; beyond this many characters, the rest are only counted
_MAX_ID_CHARACTERS = 512


@dataclass(frozen=True)
class Limits:
    """The limits of one batcher. `max_batch` is in the unit of its `size`, by default calls.

    Up to `in_flight` batches are under way at a time. A second one is sent only if `max_batch` calls wait, because two
    half batches cost more than a whole one, or if the last one was sent `patience` seconds ago, because a slow replica
    must not hold up later calls. A batch that is not answered within `hedge_after` seconds is sent to another replica
    too (see `Hedging`).
    """

    max_batch: int = 64
    max_waiting: int = 1024
    in_flight: int = 4
    patience: float = 0.02
    hedge_after: float = 0.15


@dataclass(eq=False, slots=True)
class _Call(Generic[Request, Result]):
    request: Request
    deadline: Deadline
    # when it was asked for, on the loop's clock
    asked: float
    request_id: str
    # of the request, if it is recorded
    span: Any
    future: asyncio.Future[Result]
    queued: bool = True


class _Expiry:
    """Fails calls at their deadlines, with one timer for all.

    Nearly every call ends before its deadline, and a timer for each would cost more than its row of a batch.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._calls: set[_Call[Any, Any]] = set()
        self._alarm: asyncio.TimerHandle | None = None
        # when the alarm rings, on the clock of the deadlines
        self._rings = math.inf

    def add(self, call: _Call[Any, Any]) -> None:
        self._calls.add(call)
        if call.deadline.at < self._rings:
            self._set(call.deadline)

    def discard(self, call: _Call[Any, Any]) -> None:
        self._calls.discard(call)

    def close(self) -> None:
        if self._alarm:
            self._alarm.cancel()

    def _set(self, deadline: Deadline) -> None:
        self.close()
        self._rings = deadline.at
        self._alarm = asyncio.get_running_loop().call_later(max(0.0, deadline.remaining()), self._ring)

    def _ring(self) -> None:
        self._rings = math.inf
        over = [one for one in self._calls if one.deadline.remaining() <= 0]
        for call in sorted(over, key=_end):
            self._calls.discard(call)
            _settle(call, DeadlineExceeded(f"{self._name} did not answer in time"))
        if self._calls:
            self._set(min(self._calls, key=_end).deadline)


def _end(call: _Call[Any, Any]) -> float:
    return call.deadline.at


def _one(_: object) -> int:
    return 1


class Batcher(Generic[Request, Result]):
    """Sends the calls of many requests in few batches, and gives each call its own result.

    `send(group, requests, timeout)` returns one result per request, in order; an exception in a result's place fails
    that call alone. An idle batcher sends at once; while a batch is under way, calls gather for the next one (see
    Limits). Calls of different groups never share a batch. A call that is cancelled or late does not affect the others.
    A batch that is refused as InvalidInput is sent again call by call.
    """

    def __init__(
        self,
        name: str,
        send: Callable[[str, list[Request], float], Awaitable[Sequence[Result | Exception]]],
        limits: Limits,
        size: Callable[[Request], int] = _one,
    ) -> None:
        self._name = name
        self._send = send
        self._limits = limits
        self._size = size
        self._queues: dict[str, deque[_Call[Request, Result]]] = {}
        # when each batch under way was sent, on the loop's clock
        self._sent_at: dict[str, list[float]] = {}
        self._flushing: set[str] = set()
        # set while calls wait for the last batch to exceed the patience
        self._alarms: dict[str, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._expiry = _Expiry(name)
        self._waiting = 0
        self._calls_of_batches = metrics.BATCH_CALLS.labels(name)
        self._seconds, self._waits = metrics.BATCH_SECONDS.labels(name), metrics.BATCH_WAIT_SECONDS.labels(name)
        # several batchers may share a name: each adds what has changed since it last did
        self._shown_waiting, self._shown = metrics.BATCH_WAITING.labels(name), 0

    @property
    def waiting(self) -> int:
        """How many calls are in no batch yet."""
        return self._waiting

    async def call(self, request: Request, deadline: Deadline, group: str = "") -> Result:
        """The result of one request. Raises Overloaded, DeadlineExceeded, or the error that `send` gave for it."""
        if self._waiting >= self._limits.max_waiting:
            metrics.REFUSED_CALLS.labels(self._name).inc()
            raise Overloaded(
                f"{self._waiting} calls are waiting for {self._name}, the limit is {self._limits.max_waiting}"
            )
        if deadline.remaining() <= 0:
            raise DeadlineExceeded(f"no time is left to ask {self._name}")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        call = _Call(request, deadline, loop.time(), telemetry.request_id.get(), tracing.recording(), future)
        self._queues.setdefault(group, deque()).append(call)
        self._waiting += 1
        self._schedule(group)
        self._expiry.add(call)
        try:
            return await future
        finally:
            self._expiry.discard(call)
            if call.queued:
                self._queues[group].remove(call)
                self._dequeued(call)

    async def close(self) -> None:
        """Waits for the batches under way; each has a deadline."""
        while self._tasks:
            await asyncio.wait(self._tasks)
        self._expiry.close()

    def _schedule(self, group: str) -> None:
        """Flushes at the end of this turn of the loop: calls that arrive together share a batch, without a wait."""
        if group in self._flushing:
            return
        if self._may_start(group):
            self._flushing.add(group)
            asyncio.get_running_loop().call_soon(self._flush, group)
        else:
            self._set_alarm(group)

    def _may_start(self, group: str) -> bool:
        sent = self._sent_at.get(group)
        if not sent:
            return True
        if len(sent) >= self._limits.in_flight:
            return False
        waiting = len(self._queues.get(group, ()))
        return waiting >= self._limits.max_batch or asyncio.get_running_loop().time() >= self._patient_until(sent)

    def _patient_until(self, sent: list[float]) -> float:
        """When the last batch under way exceeds the patience."""
        return sent[-1] + self._limits.patience

    def _set_alarm(self, group: str) -> None:
        sent = self._sent_at[group]
        if group not in self._alarms and len(sent) < self._limits.in_flight:
            loop = asyncio.get_running_loop()
            self._alarms[group] = loop.call_at(self._patient_until(sent), self._flush, group)

    def _flush(self, group: str) -> None:
        self._flushing.discard(group)
        if alarm := self._alarms.pop(group, None):
            alarm.cancel()
        queue = self._queues.get(group)
        while queue and self._may_start(group):
            calls = self._next_batch(queue)
            self._sent_at.setdefault(group, []).append(asyncio.get_running_loop().time())
            task = asyncio.create_task(self._run(group, calls, self._sent_at[group][-1]))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        if queue:
            self._set_alarm(group)
        elif not self._sent_at.get(group):
            # groups are model versions, which come and go
            self._queues.pop(group, None)
            self._sent_at.pop(group, None)
        if self._waiting != self._shown:
            self._shown_waiting.inc(self._waiting - self._shown)
            self._shown = self._waiting

    def _next_batch(self, queue: deque[_Call[Request, Result]]) -> list[_Call[Request, Result]]:
        """The calls of the next batch: as many as fit, at least one."""
        calls, total = [queue.popleft()], 0
        total += self._size(calls[0].request)
        while queue and (total := total + self._size(queue[0].request)) <= self._limits.max_batch:
            calls.append(queue.popleft())
        for call in calls:
            self._dequeued(call)
        return calls

    def _dequeued(self, call: _Call[Request, Result]) -> None:
        call.queued = False
        self._waiting -= 1

    async def _run(self, group: str, calls: list[_Call[Request, Result]], sent: float) -> None:
        telemetry.request_id.set(_join_ids([call.request_id for call in calls]))
        self._calls_of_batches.observe(len(calls))
        self._waits.observe(sent - calls[0].asked)
        batch = tracing.begin_batch(self._name, [call.span for call in calls])
        results: Sequence[Result | Exception] = ()
        try:
            results = await self._ask(group, calls)
            for call, result in zip(calls, results, strict=True):
                _settle(call, result)
        finally:
            if batch is not None:
                tracing.end_batch(batch, results)
            for call in calls:
                _settle(call, Unavailable(f"the call of {self._name} was cancelled"))
            self._seconds.observe(asyncio.get_running_loop().time() - sent)
            self._sent_at[group].remove(sent)
            self._flush(group)

    async def _ask(self, group: str, calls: list[_Call[Request, Result]]) -> Sequence[Result | Exception]:
        timeout = max(call.deadline.remaining() for call in calls)
        try:
            results = await self._send(group, [call.request for call in calls], timeout)
        except InvalidInput as error:
            if len(calls) == 1:
                return [error]
            log.warning("a batch was refused; sending its calls one by one: %s", error, extra={"batcher": self._name})
            alone = await asyncio.gather(*(self._ask(group, [call]) for call in calls))
            return [result for results in alone for result in results]
        except Exception as error:
            # each caller raises it, and the HTTP edge logs it if it is none of ours
            return [error] * len(calls)
        if len(results) != len(calls):
            return [Unavailable(f"{self._name} answered {len(results)} rows for {len(calls)}")] * len(calls)
        return results


def _settle(call: _Call[Request, Result], result: Result | Exception) -> None:
    if call.future.done():
        return
    if isinstance(result, Exception):
        call.future.set_exception(result)
    else:
        call.future.set_result(result)


def _join_ids(ids: Sequence[str]) -> str:
    known = [one for one in dict.fromkeys(ids) if one]
    text = ",".join(known)
    if len(text) <= _MAX_ID_CHARACTERS:
        return text
    kept = text[:_MAX_ID_CHARACTERS].rsplit(",", 1)[0].split(",")
    return f"{','.join(kept)},+{len(known) - len(kept)}"
