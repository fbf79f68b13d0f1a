"""A bounded thread pool that keeps FAISS and ONNX Runtime off the event loop."""

from __future__ import annotations

import asyncio
import contextvars
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from twotower.caller import caller, check_caller
from twotower.errors import Overloaded
from twotower.serving.telemetry import CALLS_WAITING

Result = TypeVar("Result")
# a call that arrives this soon after another ended has waited for it: calls come back to back
_BACK_TO_BACK_SECONDS = 0.0005
# after back-to-back calls, short work runs on the pool for this long
_POOL_SECONDS = 1.0


class Workers:
    """A pool of `threads` threads, where at most `queue` calls wait. `run_short` may use the event loop instead."""

    def __init__(self, threads: int, queue: int, clock: Callable[[], float] = time.perf_counter) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="worker")
        self._limit = threads + queue
        self._waiting = 0
        self._clock = clock
        # when work last ended on the event loop, and until when short work runs on the pool
        self._ended = self._pool_until = -math.inf

    async def run(self, work: Callable[..., Result], *arguments: object) -> Result:
        """Runs `work(*arguments)` on a worker, under the caller's request id.

        Raises Overloaded if the queue is full, and DeadlineExceeded if no worker was free before the call's deadline;
        the work is not done then. Work that has begun ends at its next `check_caller` once this call is cancelled.
        """
        if self._waiting >= self._limit:
            raise Overloaded(f"{self._waiting} calls are waiting, the limit is {self._limit}")
        self._waiting += 1
        CALLS_WAITING.inc()
        # a cancelled call occupies its thread, and counts, until the work notices
        context = contextvars.copy_context()
        future = asyncio.get_running_loop().run_in_executor(
            self._pool, lambda: context.run(_run_unless_late, work, *arguments)
        )
        future.add_done_callback(self._done)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            if (waiting := caller.get()) is not None:
                waiting.has_left = True
            raise

    async def run_short(self, work: Callable[..., Result], *arguments: object) -> Result:
        """Runs `work(*arguments)`, a few milliseconds of work, on the event loop.

        Handing it to a worker and waking up again would take 0.3 ms. Runs on the pool if work is queued, or for 1 s
        after back-to-back calls.
        """
        now = self._clock()
        if now - self._ended < _BACK_TO_BACK_SECONDS:
            self._pool_until = now + _POOL_SECONDS
        if self._waiting or now < self._pool_until:
            return await self.run(work, *arguments)
        try:
            return _run_unless_late(work, *arguments)
        finally:
            self._ended = self._clock()

    def _done(self, future: asyncio.Future[Any]) -> None:
        self._waiting -= 1
        CALLS_WAITING.dec()
        if not future.cancelled():
            future.exception()  # retrieved, or asyncio would report the error of a call whose caller has gone

    def close(self) -> None:
        """Drops what waits and lets running work end."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _run_unless_late(work: Callable[..., Result], *arguments: object) -> Result:
    check_caller()
    return work(*arguments)
