"""Each buyer's latest interactions in Redis: one sorted set per buyer, scored by time.

A member is `product NUL event NUL milliseconds`. Ids hold no control characters, so NUL sorts below all of them, and
members of one score lie in Redis in the order of product and event name: that of `twotower.history.latest`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from gateway import metrics
from gateway.history.breaker import Breaker
from gateway.history.codec import KEY_PREFIX, Addition, is_refusal, key_of, packed, still_kept
from gateway.history.connection import Command, RedisPipelines
from twotower.errors import Unavailable
from twotower.history import latest
from twotower.serving import wire

log = logging.getLogger(__name__)

# what `ping` writes: no buyer's key, for ids hold no control characters
_PROBE = f"{KEY_PREFIX}\0ready"


_PROBE_SECONDS = 60


Answer = TypeVar("Answer")


class RedisHistory:
    """Reads and adds histories, many buyers at a time.

    Every method raises Unavailable where Redis does not answer or refuses. A cancelled caller never stops a command
    half-way: its connection goes back to the pool with the whole reply read.
    """

    def __init__(self, pipelines: RedisPipelines, size: int, ttl_days: float, breaker: Breaker) -> None:
        self._pipelines = pipelines
        self._size = size
        self._ttl_seconds = max(1, int(ttl_days * 86_400))
        self._breaker = breaker
        self._running: set[asyncio.Task[Any]] = set()
        # before anything is asked: a worker without requests knows of no failure
        metrics.REDIS_UP.set(not breaker.is_open)

    async def read(self, buyer_ids: Sequence[str]) -> list[str | Exception]:
        """Each buyer's newest interactions, oldest first, packed; empty for a buyer without any. One round trip.

        Unavailable in the place of a buyer whose history Redis refused to read.
        """
        commands = [("ZRANGE", key_of(buyer_id), -self._size, -1) for buyer_id in buyer_ids]
        replies = await self._guarded(lambda: self._pipelines.run(commands))
        refusals = [one for one in replies if is_refusal(one)]
        if refusals:
            metrics.REDIS_FAILURES.inc(len(refusals))
            log.error("Redis refused a read, %s of %s: %s", len(refusals), len(replies), refusals[0])
        return [
            Unavailable("Redis refused a command") if is_refusal(reply) else packed(reply, buyer_id)
            for reply, buyer_id in zip(replies, buyer_ids, strict=True)
        ]

    async def add(self, additions: Sequence[Addition]) -> list[int | Exception]:
        """Merges interactions into histories, each capped and given its time to live in the same atomic step.

        An interaction that is kept already changes nothing. Returns how many of each buyer's are kept now (a repeated
        one counted once, none that is older than all that is kept), or Unavailable in the place of a buyer that Redis
        refused.
        """
        kept = [latest(list(set(one.interactions)), self._size) for one in additions]
        commands: list[Command] = [("MULTI",)]
        for addition, interactions in zip(additions, kept, strict=True):
            key = key_of(addition.buyer_id)
            scored = [part for one in interactions for part in (one.timestamp_ms, wire.pack_interaction(one))]
            commands.append(("ZADD", key, *scored))
            commands.append(("ZREMRANGEBYRANK", key, 0, -self._size - 1))
            commands.append(("EXPIRE", key, self._ttl_seconds))
            commands.append(("ZRANGE", key, 0, 0, "WITHSCORES"))
        commands.append(("EXEC",))

        async def ask() -> list[Any]:
            *queued, executed = await self._pipelines.run(commands)
            if isinstance(executed, Exception):
                # nothing was done, for a reason that is told before
                raise next((one for one in queued if isinstance(one, Exception)), executed)
            return list(executed)

        replies = await self._guarded(ask)
        results: list[int | Exception] = []
        for row, interactions in enumerate(kept):
            answered = replies[4 * row : 4 * row + 4]
            failed = next((one for one in answered if isinstance(one, Exception)), None)
            if failed is not None:
                log.error("Redis refused a write: %s", failed)
                results.append(Unavailable("Redis refused a write"))
            else:
                _, removed, _, oldest = answered
                results.append(still_kept(interactions, oldest) if removed else len(interactions))
        return results

    async def ping(self) -> None:
        """Unavailable where Redis does not answer, or refuses to write or to read as it refuses requests.

        Writes a key of its own. Asks even while the breaker is open, and may close it.
        """
        write = [("ZADD", _PROBE, 0, "ready"), ("EXPIRE", _PROBE, _PROBE_SECONDS)]
        commands = [*write, ("ZRANGE", _PROBE, 0, -1)]
        replies = await self._guarded(lambda: self._pipelines.run(commands), always=True)
        for place, reply in enumerate(replies):
            if isinstance(reply, Exception):
                metrics.REDIS_FAILURES.inc()
                what = "write" if place < len(write) else "read"
                log.error("Redis refuses to %s: %s", what, reply)
                raise Unavailable(f"Redis refuses to {what}")

    async def close(self) -> None:
        if self._running:
            await asyncio.wait(self._running)
        await self._pipelines.close()

    async def _guarded(self, ask: Callable[[], Coroutine[Any, Any, Answer]], *, always: bool = False) -> Answer:
        if not always:
            self._breaker.check()
        task = asyncio.create_task(ask())
        self._running.add(task)
        task.add_done_callback(self._finished)
        try:
            return await asyncio.shield(task)
        except (RedisConnectionError, RedisTimeoutError, OSError):
            # the breaker logs why; callers need no addresses
            raise Unavailable("Redis does not answer") from None
        except RedisError as error:
            log.error("Redis refused a command: %s", error)
            raise Unavailable("Redis refused a command") from None

    def _finished(self, task: asyncio.Task[Any]) -> None:
        """Tells the breaker, also where the caller has gone."""
        self._running.discard(task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, (RedisConnectionError, RedisTimeoutError, OSError)):
            self._breaker.failed(error)
        elif error is None and not task.cancelled():
            self._breaker.succeeded()
        if error is not None:
            metrics.REDIS_FAILURES.inc()
        metrics.REDIS_UP.set(not self._breaker.is_open)
