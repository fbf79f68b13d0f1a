"""A bounded thread pool that keeps FAISS and ONNX Runtime off the event loop."""

from __future__ import annotations

import asyncio
import contextvars
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from twotower.errors import (
    DeadlineExceeded,
    Overloaded,
)

Result = TypeVar("Result")


# time.monotonic() at which the caller of the running call gives up
deadline: contextvars.ContextVar[float] = contextvars.ContextVar("deadline", default=math.inf)


# a call that comes so soon after the end of another has waited for it
_CLOSE_SECONDS = 0.0005


# for so long after that, calls share the workers
_SHARED_SECONDS = 1.0


class Workers:
    """A bounded thread pool: FAISS and ONNX run here, and on the event loop only what `run_small` may run there."""

    def __init__(self, threads: int, queue: int, clock: Callable[[], float] = time.perf_counter) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="worker")
        self._limit = threads + queue
        self._waiting = 0
        self._clock = clock
        # when work ended on the event loop, and until when none is done there
        self._ended = self._shared_until = -math.inf

    async def run(self, work: Callable[..., Result], *arguments: object) -> Result:
        """`work(*arguments)` on a worker, which sees the request id of its caller.

        Overloaded where too many calls wait already; DeadlineExceeded, with nothing done, where the call's time has
        run out before a worker is free.
        """
        if self._waiting >= self._limit:
            raise Overloaded(f"{self._waiting} calls are waiting, the limit is {self._limit}")
        self._waiting += 1
        # counted until the work ends, not until its caller gives up: a cancelled call still holds its thread
        context = contextvars.copy_context()
        future = asyncio.get_running_loop().run_in_executor(self._pool, lambda: context.run(_in_time, work, *arguments))
        future.add_done_callback(self._done)
        return await asyncio.shield(future)

    async def run_small(self, work: Callable[..., Result], *arguments: object) -> Result:
        """`work(*arguments)` here on the event loop: for work of a few milliseconds, for handing it to a worker and
        being woken by it takes .3.

        It goes to a worker all the same while others are waiting for one, so that it never overtakes them, and for a
        second after calls have come faster than one thread serves them: workers are as many as may run at a time.
        """
        now = self._clock()
        if now - self._ended < _CLOSE_SECONDS:
            self._shared_until = now + _SHARED_SECONDS
        if self._waiting or now < self._shared_until:
            return await self.run(work, *arguments)
        try:
            return _in_time(work, *arguments)
        finally:
            self._ended = self._clock()

    def _done(self, future: asyncio.Future[Any]) -> None:
        self._waiting -= 1
        if not future.cancelled():
            future.exception()  # seen here, so that work whose caller has gone is not reported as lost

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


def _in_time(work: Callable[..., Result], *arguments: object) -> Result:
    late = time.monotonic() - deadline.get()
    if late >= 0:
        raise DeadlineExceeded(f"the call waited for a worker until {late:.3f} s past its deadline")
    return work(*arguments)
