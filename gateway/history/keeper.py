"""What a gateway does for the histories between requests: follows Redis' clock, and deletes what has expired."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from gateway.history.redis_history import RedisHistory
from twotower.errors import Unavailable

log = logging.getLogger(__name__)

_CLOCK_SECONDS = 1.0
# between two looks for expired histories, in clock readings
_EXPIRE_EVERY = 60


class HistoryKeeper:
    """Runs until it is closed. While Redis is down it waits: the breaker has logged why."""

    def __init__(self, redis: RedisHistory) -> None:
        self._redis = redis
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def _run(self) -> None:
        readings = 0
        while True:
            try:
                await self._redis.observe_clock()
                if readings % _EXPIRE_EVERY == 0 and (expired := await self._redis.expire()):
                    log.info("deleted %s expired histories", expired)
                readings += 1
            except Unavailable as error:
                log.debug("the histories are not kept: %s", error)
            except Exception:
                # without this task histories would neither expire nor have a clock, and nobody would know
                log.exception("keeping the histories failed")
            await asyncio.sleep(_CLOCK_SECONDS)
