"""Whether Redis still holds the histories that were loaded into it: a key says so, and goes with them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from gateway.history.redis_history import RedisHistory
from twotower.errors import Unavailable

log = logging.getLogger(__name__)

# between two looks
_SECONDS = 0.5


class LoadedMark:
    """Looks twice a second whether the mark of `gateway.warm` is there.

    Histories are lost if the mark has been there and is gone: Redis was emptied, or came back without its data. A Redis
    that nobody ever warmed has no mark and has lost nothing.
    """

    def __init__(self, redis: RedisHistory) -> None:
        self._redis = redis
        self._was_there = False
        self.is_lost = False

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """Looks for the mark as long as the context is open."""
        task = asyncio.create_task(self._follow())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def look(self) -> None:
        """Raises Unavailable if Redis does not answer: nothing is known then, and nothing changes."""
        is_there = bool(await self._redis.loaded_version())
        was_lost, self.is_lost = self.is_lost, self._was_there and not is_there
        self._was_there |= is_there
        if self.is_lost and not was_lost:
            log.error("Redis has lost the histories: known buyers get popular products until they are loaded again")
        if was_lost and not self.is_lost:
            log.info("the histories are loaded again")

    async def check(self) -> None:
        """Raises Unavailable if Redis does not write and read, or has lost the histories."""
        await self._redis.ping()
        await self.look()
        if self.is_lost:
            raise Unavailable("Redis has lost the histories; run gateway.warm, or wait until its --watch loads them")

    async def _follow(self) -> None:
        while True:
            # the breaker logs that Redis is down
            with suppress(Unavailable):
                await self.look()
            await asyncio.sleep(_SECONDS)
