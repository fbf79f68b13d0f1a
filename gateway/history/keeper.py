"""What a gateway does for the histories between requests: follows Redis' clock and memory, deletes what has expired."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress

from gateway import metrics
from gateway.history.clock import SharedClock
from gateway.history.expiry import expire, observe_clock
from gateway.history.redis_client import RedisClient
from twotower.errors import Unavailable

log = logging.getLogger(__name__)

_CLOCK_SECONDS = 1.0
# between two looks for expired histories, in clock readings
_EXPIRE_EVERY = 60
# between two readings of the memory, in clock readings
_MEMORY_EVERY = 10


class HistoryKeeper:
    """Runs until it is closed. While Redis is down it waits: the breaker has logged why."""

    def __init__(self, redis: RedisClient, clock: SharedClock, ttl_days: float) -> None:
        self._redis, self._clock, self._ttl_days = redis, clock, ttl_days
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def _run(self) -> None:
        readings = 0
        while True:
            try:
                await observe_clock(self._redis, self._clock)
                if readings % _EXPIRE_EVERY == 0:
                    await self._expire()
                if readings % _MEMORY_EVERY == 0:
                    show_memory(await self._redis.ask_nodes(("INFO", "memory")))
                readings += 1
            except Unavailable as error:
                log.debug("the histories are not kept: %s", error)
            except Exception:
                # without this task histories would neither expire nor have a clock, and nobody would know
                log.exception("keeping the histories failed")
            await asyncio.sleep(_CLOCK_SECONDS)

    async def _expire(self) -> None:
        if expired := await expire(self._redis, self._clock, self._ttl_days):
            log.info("deleted %s expired histories", expired)


def show_memory(replies: Sequence[bytes]) -> None:
    """Sets the metrics of the fullest server, from each server's INFO."""
    servers = []
    for reply in replies:
        values = dict(line.split(b":", 1) for line in reply.splitlines() if b":" in line)
        servers.append((int(values[b"used_memory"]), int(values[b"maxmemory"])))
    # one without a limit has all the room that there is
    used, limit = max(servers, key=lambda server: (server[0] / server[1] if server[1] else 0.0, server[0]))
    metrics.REDIS_MEMORY.set(used)
    metrics.REDIS_MEMORY_LIMIT.set(limit)
