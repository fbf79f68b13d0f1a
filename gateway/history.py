"""Each buyer's latest interactions in Redis: one sorted set per buyer, scored by time.

A member is `product NUL event NUL milliseconds`. Ids hold no control characters, so NUL sorts below all of them, and
members of one score lie in Redis in the order of product and event name: that of `twotower.history.latest`.
"""

from __future__ import annotations

import asyncio
import logging
import math
from bisect import bisect_left
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar

import hiredis
from redis.asyncio import BlockingConnectionPool, Connection, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from gateway import metrics
from gateway.batching import Batcher, Deadline, Limits
from gateway.breaker import Breaker
from gateway.settings import GatewaySettings
from twotower.errors import Unavailable
from twotower.events import Interaction
from twotower.history import latest
from twotower.serving import wire

log = logging.getLogger(__name__)

KEY_PREFIX = "twotower:history:1:"
# what `ping` writes: no buyer's key, for ids hold no control characters
_PROBE = f"{KEY_PREFIX}\0ready"
_PROBE_SECONDS = 60
_JOINT = wire.SEPARATOR.encode()
Answer = TypeVar("Answer")


class Addition(NamedTuple):
    """Interactions of one buyer that are to be kept."""

    buyer_id: str
    interactions: Sequence[Interaction]


class PackedConnection(Connection):
    """Commands are packed by hiredis, as redis-py's blocking connection does: a write of 50 interactions in an eighth
    of the time that its asyncio connection takes. For redis:// alone; redis-py gives rediss:// and unix:// its own."""

    def pack_command(self, *args: Any) -> list[bytes]:
        name, *rest = args
        # a literal argument may stand in the name: CONFIG GET
        words = name.encode().split() if isinstance(name, str) else name.split()
        return [hiredis.pack_command((*words, *rest))]


def connect_redis(settings: GatewaySettings) -> Redis:
    """A client whose every wait is finite; made inside the running event loop, connects on first use."""
    pool = BlockingConnectionPool.from_url(
        settings.redis_url,
        connection_class=PackedConnection,
        max_connections=settings.redis_connections,
        timeout=settings.redis_timeout_seconds,
        socket_timeout=settings.redis_timeout_seconds,
        socket_connect_timeout=settings.redis_connect_timeout_seconds,
        health_check_interval=30,
        # once more, on a fresh connection: the pooled one may have died while it was idle. All commands are idempotent
        retry=Retry(NoBackoff(), 1),
        # the protocol and the handshake of Redis 6.2
        protocol=2,
        driver_info=None,
    )
    return Redis(connection_pool=pool)


class RedisHistory:
    """Reads and adds histories, many buyers at a time.

    Every method raises Unavailable where Redis does not answer or refuses. A cancelled caller never stops a command
    half-way: its connection goes back to the pool with the whole reply read.
    """

    def __init__(self, client: Redis, size: int, ttl_days: float, breaker: Breaker) -> None:
        self._client = client
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
        commands = [("ZRANGE", _key(buyer_id), -self._size, -1) for buyer_id in buyer_ids]
        replies = await self._guarded(lambda: self._pipeline(commands))
        refusals = [one for one in replies if _is_refusal(one)]
        if refusals:
            metrics.REDIS_FAILURES.inc(len(refusals))
            log.error("Redis refused a read, %s of %s: %s", len(refusals), len(replies), refusals[0])
        return [
            Unavailable("Redis refused a command") if _is_refusal(reply) else _packed(reply, buyer_id)
            for reply, buyer_id in zip(replies, buyer_ids, strict=True)
        ]

    async def add(self, additions: Sequence[Addition]) -> list[int | Exception]:
        """Merges interactions into histories, each capped and given its time to live in the same atomic step.

        An interaction that is kept already changes nothing. Returns how many of each buyer's are kept now (a repeated
        one counted once, none that is older than all that is kept), or Unavailable in the place of a buyer that Redis
        refused.
        """
        kept = [latest(list(set(one.interactions)), self._size) for one in additions]
        commands: list[tuple[Any, ...]] = [("MULTI",)]
        for addition, interactions in zip(additions, kept, strict=True):
            key = _key(addition.buyer_id)
            scored = [part for one in interactions for part in (one.timestamp_ms, wire.pack_interaction(one))]
            commands.append(("ZADD", key, *scored))
            commands.append(("ZREMRANGEBYRANK", key, 0, -self._size - 1))
            commands.append(("EXPIRE", key, self._ttl_seconds))
            commands.append(("ZRANGE", key, 0, 0, "WITHSCORES"))
        commands.append(("EXEC",))

        async def ask() -> list[Any]:
            *queued, executed = await self._pipeline(commands)
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
                results.append(_still_kept(interactions, oldest) if removed else len(interactions))
        return results

    async def ping(self) -> None:
        """Unavailable where Redis does not answer, or refuses to write or to read as it refuses requests.

        Writes a key of its own. Asks even while the breaker is open, and may close it.
        """
        write = [("ZADD", _PROBE, 0, "ready"), ("EXPIRE", _PROBE, _PROBE_SECONDS)]
        commands = [*write, ("ZRANGE", _PROBE, 0, -1)]
        replies = await self._guarded(lambda: self._pipeline(commands), always=True)
        for place, reply in enumerate(replies):
            if isinstance(reply, Exception):
                metrics.REDIS_FAILURES.inc()
                what = "write" if place < len(write) else "read"
                log.error("Redis refuses to %s: %s", what, reply)
                raise Unavailable(f"Redis refuses to {what}")

    async def close(self) -> None:
        if self._running:
            await asyncio.wait(self._running)
        await self._client.aclose()
        await self._client.connection_pool.disconnect()

    async def _pipeline(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """The reply to each command, or an error in its place; redis-py's own pipeline takes half as long again."""
        pool: Any = self._client.connection_pool
        connection = await pool.get_connection()
        try:
            ask = partial(_round_trip, connection, commands)
            replies: list[Any] = await connection.retry.call_with_retry(ask, lambda _: connection.disconnect())
            return replies
        finally:
            await pool.release(connection)

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


class HistoryStore:
    """The histories as requests use them: concurrent reads share one pipeline, and so do concurrent writes."""

    def __init__(self, redis: RedisHistory, limits: Limits) -> None:
        self.redis = redis
        self._reads: Batcher[str, str] = Batcher("Redis reads", self._read, limits)
        self._writes: Batcher[Sequence[Addition], int] = Batcher("Redis writes", self._write, limits, size=len)

    async def read(self, buyer_id: str, deadline: Deadline) -> str:
        """One buyer's newest interactions, oldest first, packed. Unavailable where Redis is down."""
        return await self._reads.call(buyer_id, deadline)

    async def add(self, additions: Sequence[Addition], deadline: Deadline) -> int:
        """Keeps the interactions of one request, all in one atomic step; returns how many are kept now."""
        return await self._writes.call(additions, deadline)

    async def close(self) -> None:
        await self._reads.close()
        await self._writes.close()
        await self.redis.close()

    async def _read(self, group: str, buyer_ids: list[str], timeout: float) -> Sequence[str | Exception]:
        return await self.redis.read(buyer_ids)

    async def _write(self, group: str, requests: list[Sequence[Addition]], timeout: float) -> list[int | Exception]:
        written = iter(await self.redis.add([one for additions in requests for one in additions]))
        results: list[int | Exception] = []
        for additions in requests:
            counts = [next(written) for _ in additions]
            failed = next((one for one in counts if isinstance(one, Exception)), None)
            results.append(failed or sum(one for one in counts if isinstance(one, int)))
        return results


async def _round_trip(connection: Any, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Sends commands in one packet; a reply, or the error in its place, to each."""
    await connection.send_packed_command(connection.pack_commands(commands))
    replies: list[Any] = []
    try:
        # one bound for all replies: the connection's own, for each of them, takes as long as reading one
        async with asyncio.timeout(connection.socket_timeout):
            for _ in commands:
                try:
                    replies.append(await connection.read_response(timeout=math.inf))
                except ResponseError as error:
                    replies.append(error)
    except TimeoutError:
        raise RedisTimeoutError("no answer in time") from None
    return replies


def _key(buyer_id: str) -> str:
    return KEY_PREFIX + buyer_id


def _still_kept(interactions: Sequence[Interaction], oldest: Sequence[bytes]) -> int:
    """How many of these, in the order of `latest`, do not come before the oldest of a history: its member and score."""
    member, score = oldest
    place = bisect_left(interactions, (float(score), member), key=_order)
    return len(interactions) - place


def _order(one: Interaction) -> tuple[float, bytes]:
    return one.timestamp_ms, wire.pack_interaction(one).encode()


def _is_refusal(reply: object) -> bool:
    """Whether Redis would not answer. A key that holds something else is a fact about one buyer, not about Redis."""
    return isinstance(reply, Exception) and not str(reply).startswith("WRONGTYPE")


def _packed(members: object, buyer_id: str) -> str:
    """One reply as a packed history; a value that is no interaction is counted, logged and left out."""
    if not isinstance(members, list):
        _unreadable(buyer_id, members)
        return ""
    try:
        text = _JOINT.join(members).decode()
        if wire.is_history(text):
            return text
    except UnicodeDecodeError:
        pass  # the loop below finds out which
    good = []
    for member in members:
        try:
            one = member.decode()
        except UnicodeDecodeError:
            one = ""
        if one and wire.SEPARATOR not in one and wire.is_history(one):
            good.append(one)
        else:
            _unreadable(buyer_id, member)
    return wire.SEPARATOR.join(good)


def _unreadable(buyer_id: str, value: object) -> None:
    metrics.UNREADABLE_VALUES.inc()
    log.warning("a value in Redis is no interaction: %.200r", value, extra={"buyer_id": buyer_id})
