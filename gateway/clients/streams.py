"""Calls over streams that are kept: a message each way costs half of a call, with its headers, trailers and timer."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import grpc

from twotower.errors import DeadlineExceeded
from twotower.serving import client, telemetry
from twotower.serving.status import from_status

log = logging.getLogger(__name__)


class StreamedCalls:
    """Calls of one method as messages of a few streams, each of which carries one request at a time.

    Up to `keep` streams take turns, each on the replica that gRPC chose as it was opened and none for longer than
    `seconds`: so replicas share the load, and one that drains is left within that time. Only for calls that may be
    repeated, such as reads: where a stream is lost that had answered before, the request is sent once more, by itself.
    """

    def __init__(
        self,
        stream: Callable[[], Any],
        alone: Callable[..., Any],
        name: str,
        *,
        keep: int = 4,
        seconds: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`stream` opens a stream of the method that `alone` calls; `name` is the service's in errors."""
        self._stream = stream
        self._alone = alone
        self._name = name
        self._keep = keep
        self._seconds = seconds
        self._clock = clock
        # that rest, the longest first; and how many there are, busy ones too
        self._idle: deque[_Stream] = deque()
        self._open = 0
        self._reaper: asyncio.TimerHandle | None = None

    async def call(self, request: Any, timeout: float) -> Any:
        """The answer to `request`, whose `caller` is set here, within `timeout` seconds; errors as of `rpc.call`."""
        now = self._clock()
        if timeout <= 0:
            raise DeadlineExceeded(f"no time is left to ask {self._name}")
        request.caller.request_id = telemetry.request_id.get() or telemetry.new_request_id()
        request.caller.timeout_ms = max(1, int(timeout * 1000))
        stream = self._take(now)
        fresh, answer = not stream.used, None
        try:
            async with asyncio.timeout(timeout):
                answer = await stream.exchange(request)
        except TimeoutError:
            raise DeadlineExceeded(f"{self._name} did not answer in time") from None
        except grpc.aio.AioRpcError as error:
            if fresh or error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
                raise from_status(error, self._name) from None
        finally:
            if answer is None:
                self._drop(stream)
            else:
                self._rest(stream)
        if answer is None:
            log.debug("no stream to %s answered: the request is sent by itself", self._name)
            return await client.call(self._alone, request, now + timeout - self._clock(), self._name)
        return answer

    def close(self) -> None:
        """Ends the streams that rest; a busy one ends with its call."""
        self._keep = 0
        if self._reaper:
            self._reaper.cancel()
        while self._idle:
            self._drop(self._idle.popleft())

    def _take(self, now: float) -> _Stream:
        while self._idle and self._open >= self._keep:
            stream = self._idle.popleft()
            if now < stream.until and not stream.call.done():
                return stream
            self._drop(stream)
        self._open += 1
        return _Stream(self._stream(), now + self._seconds)

    def _rest(self, stream: _Stream) -> None:
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
        """Ends the streams that rest past their time, for a server that drains waits for them."""
        self._reaper = None
        now = self._clock()
        for stream in [one for one in self._idle if now >= one.until]:
            self._idle.remove(stream)
            self._drop(stream)
        if self._idle:
            self._set_reaper()


class _Stream:
    """One open stream, and until when it is used."""

    def __init__(self, call: Any, until: float) -> None:
        self.call = call
        self.until = until
        self.used = False

    async def exchange(self, request: Any) -> Any:
        """The answer to one request; None where the stream has ended without one."""
        try:
            await self.call.write(request)
        except asyncio.InvalidStateError:
            # it ended, well or badly, before the request was sent
            if self.used:
                return None
        answer = await self.call.read()
        self.used = True
        return None if answer is grpc.aio.EOF else answer
