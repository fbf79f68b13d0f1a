"""Calls over kept streams: a message each way costs half of a unary call, which sends headers and sets a timer."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import grpc

from gateway.clients.hedging import Hedging
from twotower.serving import client, telemetry, tracing
from twotower.serving.status import from_status

log = logging.getLogger(__name__)


class StreamedCalls:
    """Calls of one method as messages of a few streams, each with one request at a time.

    Up to `keep` streams take turns. Each stays on the replica that gRPC chose when it opened, for at most `seconds`:
    so replicas share the load, and a draining replica is left in time. Only for calls that may be repeated, such as
    reads: if a stream that has answered before is lost, the request is sent once more as a unary call, and a call that
    is late is hedged on a new stream, which is kept if it answers first.
    """

    def __init__(
        self,
        stream: Callable[[], Any],
        unary: Callable[..., Any],
        name: str,
        hedging: Hedging,
        *,
        keep: int = 4,
        seconds: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`stream` opens a stream, `unary` makes a unary call of the same method; errors call the service `name`."""
        self._stream = stream
        self._unary = unary
        self._name = name
        self._hedging = hedging
        self._keep = keep
        self._seconds = seconds
        self._clock = clock
        # the longest idle first
        self._idle: deque[_Stream] = deque()
        # how many are open, busy ones included
        self._open = 0
        self._reaper: asyncio.TimerHandle | None = None

    async def call(self, request: Any, timeout: float, *, is_expensive: bool = False) -> Any:
        """The answer to `request` within `timeout` seconds; sets its `caller`. Raises what `client.call` raises.

        An expensive request is not hedged.
        """
        until, attempts = self._clock() + timeout, itertools.count()
        request.caller.request_id = telemetry.request_id.get() or telemetry.new_request_id()
        if traceparent := tracing.traceparent():
            request.caller.traceparent = traceparent

        async def attempt() -> Any:
            is_hedge, left = next(attempts) > 0, until - self._clock()
            # an earlier attempt is written already; if not, the shorter time is right for it too
            request.caller.timeout_ms = max(1, int(left * 1000))
            return await self._ask(self._open_stream() if is_hedge else self._acquire(), request, until)

        return await self._hedging.call(attempt, timeout, is_expensive=is_expensive)

    async def _ask(self, stream: _Stream, request: Any, until: float) -> Any:
        is_new, answer = not stream.has_answered, None
        try:
            answer = await stream.exchange(request)
        except grpc.aio.AioRpcError as error:
            if is_new or error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
                raise from_status(error, self._name) from None
        finally:
            if answer is None:
                self._drop(stream)
            else:
                self._release(stream)
        if answer is None:
            log.debug("a stream to %s was lost; repeating its request as a unary call", self._name)
            return await client.call(self._unary, request, until - self._clock(), self._name)
        return answer

    def close(self) -> None:
        """Ends the idle streams; a busy one ends with its call."""
        self._keep = 0
        if self._reaper:
            self._reaper.cancel()
        while self._idle:
            self._drop(self._idle.popleft())

    def _acquire(self) -> _Stream:
        now = self._clock()
        while self._idle and self._open >= self._keep:
            stream = self._idle.popleft()
            if now < stream.until and not stream.call.done():
                return stream
            self._drop(stream)
        return self._open_stream()

    def _open_stream(self) -> _Stream:
        self._open += 1
        return _Stream(self._stream(), self._clock() + self._seconds)

    def _release(self, stream: _Stream) -> None:
        if self._open > self._keep or self._clock() >= stream.until:
            self._drop(stream)
            return
        self._idle.append(stream)
        if not self._reaper:
            self._set_reaper()

    def _drop(self, stream: _Stream) -> None:
        self._open -= 1
        stream.call.cancel()

    def _set_reaper(self) -> None:
        self._reaper = asyncio.get_running_loop().call_later(self._seconds, self._reap)

    def _reap(self) -> None:
        """Ends the idle streams whose time is over: a draining server waits for them."""
        self._reaper = None
        now = self._clock()
        for stream in [one for one in self._idle if now >= one.until]:
            self._idle.remove(stream)
            self._drop(stream)
        if self._idle:
            self._set_reaper()


class _Stream:
    """One open stream, used until `until` on the caller's clock."""

    def __init__(self, call: Any, until: float) -> None:
        self.call = call
        self.until = until
        self.has_answered = False

    async def exchange(self, request: Any) -> Any:
        """The answer to one request; None if the stream ended without an answer."""
        try:
            await self.call.write(request)
        except asyncio.InvalidStateError:
            # the stream ended before the request was sent, with or without an error
            if self.has_answered:
                return None
        answer = await self.call.read()
        self.has_answered = True
        return None if answer is grpc.aio.EOF else answer
