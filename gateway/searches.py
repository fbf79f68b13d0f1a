"""What is searched, and what of it finds nothing: counts per day in Redis, for people."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from contextlib import suppress
from typing import NamedTuple

from gateway.history.redis_client import RedisClient
from twotower.errors import Unavailable

log = logging.getLogger(__name__)

# one tag: the keys lie in one slot of a cluster
_PREFIX = "twotower:{searches}:1:"
_DAYS = 7
_DAY_SECONDS = 86_400
_WRITE_SECONDS = 2.0
# different searches that a worker holds until they are written, and that a day keeps; rarer ones are lost
_PENDING, _KEPT = 1000, 1000
_MAX_LENGTH = 100


class Searched(NamedTuple):
    """Searches of the last days, the most frequent first."""

    top: list[tuple[str, int]]
    without_result: list[tuple[str, int]]


class SearchCounts:
    """Counts in memory, and adds what it has counted to Redis every two seconds, until it is closed."""

    def __init__(self, redis: RedisClient) -> None:
        self._redis = redis
        self._all, self._none = Counter[str](), Counter[str]()
        self._task = asyncio.create_task(self._run())

    def count(self, query: str, has_result: bool) -> None:
        """Counts a search. Case and spaces make no difference."""
        text = " ".join(query.casefold().split())[:_MAX_LENGTH]
        for counts in (self._all,) if has_result else (self._all, self._none):
            if text in counts or len(counts) < _PENDING:
                counts[text] += 1

    async def read(self, k: int) -> Searched:
        """The `k` most frequent searches of seven days, by all gateways. Raises Unavailable if Redis is down."""
        await self.write()
        return Searched(await self._most("all", k), await self._most("none", k))

    async def close(self) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def write(self) -> None:
        """Adds the counts to Redis. Raises Unavailable, and keeps them, if Redis is down."""
        for name, counts in (("all", self._all), ("none", self._none)):
            if not counts:
                continue
            key = _key(name, _today())
            added = dict(counts)
            counts.clear()
            try:
                await self._redis.ask(
                    key,
                    [
                        *(("ZINCRBY", key, count, text) for text, count in added.items()),
                        ("ZREMRANGEBYRANK", key, 0, -_KEPT - 1),
                        ("EXPIRE", key, (_DAYS + 1) * _DAY_SECONDS),
                    ],
                )
            except Unavailable:
                counts.update(added)
                raise

    async def _most(self, name: str, k: int) -> list[tuple[str, int]]:
        keys = [_key(name, _today() - day) for day in range(_DAYS)]
        found = await self._redis.ask(keys[0], [("ZREVRANGE", key, 0, -1, "WITHSCORES") for key in keys])
        total = Counter[str]()
        for pairs in found:
            for text, count in zip(pairs[::2], pairs[1::2], strict=True):
                total[text.decode()] += int(float(count))
        return sorted(total.items(), key=lambda pair: (-pair[1], pair[0]))[:k]

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_WRITE_SECONDS)
            try:
                await self.write()
            except Unavailable as error:
                log.debug("searches are not counted in Redis: %s", error)


def _today() -> int:
    return int(time.time()) // _DAY_SECONDS


def _key(name: str, day: int) -> str:
    return f"{_PREFIX}{day}:{name}"
