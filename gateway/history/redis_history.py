"""Each buyer's newest interactions in Redis: one sorted set per buyer, scored by time.

A member is `product NUL event NUL milliseconds`. Ids hold no control characters, so NUL sorts before all of their
characters. Members with the same score are therefore sorted by product, then event: the order of
`twotower.history.latest`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from gateway import metrics
from gateway.history.breaker import Breaker
from gateway.history.codec import KEY_PREFIX, Addition, count_kept, is_refusal, key_of, pack_reply
from gateway.history.connection import Command, RedisPipelines
from twotower.errors import Unavailable
from twotower.events import Interaction
from twotower.history import latest
from twotower.serving import wire

log = logging.getLogger(__name__)

# the key that `ping` writes; no buyer's key, because ids hold no control characters
_PROBE = f"{KEY_PREFIX}\0ready"
_PROBE_SECONDS = 60
# says from which version histories were loaded, and which process is loading some
_LOADED, _LOADING = f"{KEY_PREFIX}\0loaded", f"{KEY_PREFIX}\0loading"

Answer = TypeVar("Answer")


class RedisHistory:
    """Reads and extends histories, many buyers at a time.

    Every method raises Unavailable if Redis refuses or does not answer. If a caller is cancelled, the command still
    runs to its end, so that its connection returns to the pool without an unread reply.
    """

    def __init__(self, pipelines: RedisPipelines, size: int, ttl_days: float, breaker: Breaker) -> None:
        self._pipelines = pipelines
        self._size = size
        self._ttl_seconds = max(1, int(ttl_days * 86_400))
        self._breaker = breaker
        self._running: set[asyncio.Task[Any]] = set()
        # set before the first request: a worker without requests has seen no failure
        metrics.REDIS_UP.set(not breaker.is_open)

    async def read(self, buyer_ids: Sequence[str]) -> list[str | Exception]:
        """Each buyer's newest interactions, oldest first, packed; empty for a buyer without any. One round trip.

        A buyer whose history Redis refuses to read gets an Unavailable in its place.
        """
        commands = [("ZRANGE", key_of(buyer_id), -self._size, -1) for buyer_id in buyer_ids]
        replies = await self._guarded(lambda: self._pipelines.run(commands))
        refusals = [reply for reply in replies if is_refusal(reply)]
        if refusals:
            metrics.REDIS_FAILURES.inc(len(refusals))
            log.error("Redis refused %s of %s reads: %s", len(refusals), len(replies), refusals[0])
        return [
            Unavailable("Redis refused a command") if is_refusal(reply) else pack_reply(reply, buyer_id)
            for reply, buyer_id in zip(replies, buyer_ids, strict=True)
        ]

    async def add(self, additions: Sequence[Addition]) -> list[int | Exception]:
        """Merges interactions into histories. Trims each history and sets its time to live in the same transaction.

        Returns, per buyer, how many of the distinct interactions are in the history afterwards, whether they were new
        or not. A buyer that Redis refuses gets an Unavailable in its place.
        """
        newest = [latest(list(set(addition.interactions)), self._size) for addition in additions]
        replies = await self._guarded(lambda: self._transaction(self._write_commands(additions, newest)))
        results: list[int | Exception] = []
        for row, interactions in enumerate(newest):
            row_replies = replies[4 * row : 4 * row + 4]
            failed = next((reply for reply in row_replies if isinstance(reply, Exception)), None)
            if failed is not None:
                log.error("Redis refused a write: %s", failed)
                results.append(Unavailable("Redis refused a write"))
            else:
                _, removed, _, oldest = row_replies
                results.append(count_kept(interactions, oldest) if removed else len(interactions))
        return results

    async def remove(self, buyer_ids: Sequence[str]) -> int:
        """Removes everything that Redis holds of these buyers. Returns how many of them had a history."""
        return sum(await self._ask([("UNLINK", key_of(one)) for one in buyer_ids]))

    async def loaded_version(self) -> str:
        """The version whose histories were loaded last; "" if Redis has none, because it is new or was emptied."""
        (value,) = await self._ask([("GET", _LOADED)])
        return value.decode() if value else ""

    async def mark_loaded(self, version: str) -> None:
        """Notes that the histories of a version are loaded, and lets others load."""
        await self._ask([("SET", _LOADED, version), ("UNLINK", _LOADING)])

    async def may_load(self, seconds: int) -> bool:
        """Whether this process may load histories: one at a time may, for so many seconds at most."""
        (reply,) = await self._ask([("SET", _LOADING, "1", "NX", "EX", seconds)])
        return reply is not None

    async def _ask(self, commands: Sequence[Command]) -> list[Any]:
        replies = await self._guarded(lambda: self._pipelines.run(commands))
        failed = next((reply for reply in replies if isinstance(reply, Exception)), None)
        if failed is not None:
            log.error("Redis refused a command: %s", failed)
            raise Unavailable("Redis refused a command")
        return replies

    async def ping(self) -> None:
        """Writes and reads a key of its own, also while the breaker is open, which a success closes.

        Raises Unavailable if Redis does not answer or refuses either command.
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

    def _write_commands(self, additions: Sequence[Addition], newest: Sequence[Sequence[Interaction]]) -> list[Command]:
        """Four commands per buyer; the last asks for the oldest interaction that is left."""
        commands: list[Command] = []
        for addition, interactions in zip(additions, newest, strict=True):
            key = key_of(addition.buyer_id)
            scored = [part for one in interactions for part in (one.timestamp_ms, wire.pack_interaction(one))]
            commands.append(("ZADD", key, *scored))
            commands.append(("ZREMRANGEBYRANK", key, 0, -self._size - 1))
            commands.append(("EXPIRE", key, self._ttl_seconds))
            commands.append(("ZRANGE", key, 0, 0, "WITHSCORES"))
        return commands

    async def _transaction(self, commands: Sequence[Command]) -> list[Any]:
        """One reply per command; all commands run, or none."""
        *queued, executed = await self._pipelines.run([("MULTI",), *commands, ("EXEC",)])
        if isinstance(executed, Exception):
            # nothing was executed; the first refused command says why
            raise next((reply for reply in queued if isinstance(reply, Exception)), executed)
        return list(executed)

    async def _guarded(self, ask: Callable[[], Coroutine[Any, Any, Answer]], *, always: bool = False) -> Answer:
        """The result of `ask`, unless the breaker is open; with `always`, even then."""
        if not always:
            self._breaker.check()
        task = asyncio.create_task(ask())
        self._running.add(task)
        task.add_done_callback(self._finished)
        try:
            return await asyncio.shield(task)
        except (RedisConnectionError, RedisTimeoutError, OSError):
            # the breaker logs the reason, which holds addresses that callers need not see
            raise Unavailable("Redis does not answer") from None
        except OutOfMemoryError:
            log.error("Redis is full: it refuses writes until histories expire or maxmemory is raised")
            raise Unavailable("Redis is full, nothing was stored") from None
        except RedisError as error:
            log.error("Redis refused a command: %s", error)
            raise Unavailable("Redis refused a command") from None

    def _finished(self, task: asyncio.Task[Any]) -> None:
        """Reports the outcome to the breaker, even if the caller has been cancelled."""
        self._running.discard(task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, (RedisConnectionError, RedisTimeoutError, OSError)):
            self._breaker.failed(error)
        elif error is None and not task.cancelled():
            self._breaker.succeeded()
        if error is not None:
            metrics.REDIS_FAILURES.inc()
        metrics.REDIS_UP.set(not self._breaker.is_open)
