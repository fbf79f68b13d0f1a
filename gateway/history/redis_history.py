"""Each buyer's newest interactions in Redis: one sorted set per buyer, scored by time.

A member is `product NUL event NUL milliseconds`. Ids hold no control characters, so NUL sorts before all of their
characters. Members with the same score are therefore sorted by product, then event: the order of
`twotower.history.latest`.

A second sorted set per buyer, of the same size, holds interactions with products that the served version did not know
when they were written. So they never displace known ones, and a later version that knows them finds them.

A third one holds the products that the buyer has dismissed: they are no part of a history, and expire with it.

No history has a time to live in Redis, because Redis' clock may jump. The set `WRITTEN` has the second of each buyer's
last write, by the last good clock, and `expire` deletes what is too old.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from gateway import metrics
from gateway.history.breaker import Breaker
from gateway.history.clock import SharedClock
from gateway.history.codec import (
    APART_PREFIX,
    DISMISSED_PREFIX,
    KEY_PREFIX,
    LOADED,
    WRITTEN,
    Addition,
    apart_key_of,
    count_kept,
    dismissed_key_of,
    is_refusal,
    key_of,
    merge,
    pack_reply,
)
from gateway.history.connection import Command, RedisPipelines
from twotower.errors import Unavailable
from twotower.events import Interaction
from twotower.history import latest
from twotower.serving import wire

log = logging.getLogger(__name__)

# why known buyers are not known now
NOT_LOADED = "Redis holds no loaded histories: it is new, or it has lost its data"
# the key that `ping` writes; no buyer's key, because ids hold no control characters
_PROBE = f"{KEY_PREFIX}\0ready"
_PROBE_SECONDS = 60
# buyers deleted by one call of the script; Redis serves nobody else while it runs
_EXPIRE_BUYERS = 100
# deletes the buyers whose last write is older than ARGV[1], and says how many it found. It works in a full Redis, too
_EXPIRE = """
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, ARGV[2])
for _, buyer in ipairs(due) do
  redis.call('UNLINK', ARGV[3] .. buyer, ARGV[4] .. buyer, ARGV[5] .. buyer)
  redis.call('ZREM', KEYS[1], buyer)
end
return #due
"""

_PREFIXES = (KEY_PREFIX, APART_PREFIX, DISMISSED_PREFIX)
# dismissed products kept of a buyer, the newest
_DISMISSED_SIZE = 200

Answer = TypeVar("Answer")


class _Part(NamedTuple):
    """The interactions that one request adds to one sorted set."""

    key: str
    size: int
    newest: list[Interaction]


class RedisHistory:
    """Reads and extends histories, many buyers at a time.

    Every method raises Unavailable if Redis refuses or does not answer. If a caller is cancelled, the command still
    runs to its end, so that its connection returns to the pool without an unread reply.
    """

    def __init__(
        self, pipelines: RedisPipelines, size: int, ttl_days: float, breaker: Breaker, clock: SharedClock
    ) -> None:
        self._pipelines = pipelines
        self._size = size
        self._ttl_ms = int(ttl_days * 86_400_000)
        self._breaker = breaker
        self._clock = clock
        self._running: set[asyncio.Task[Any]] = set()
        self._is_loaded = True
        # set before the first request: a worker without requests has seen no failure
        metrics.REDIS_UP.set(not breaker.is_open)

    @property
    def is_loaded(self) -> bool:
        """Whether histories had been loaded into Redis when it was last read."""
        return self._is_loaded

    async def read(self, buyer_ids: Sequence[str]) -> list[str | Exception]:
        """Each buyer's newest interactions, oldest first, packed; empty for a buyer without any. One round trip.

        The interactions kept apart are among them: whoever encodes the history skips those that its version does not
        know. So are dismissals; `split_dismissed` takes them out. A buyer whose history Redis refuses to read gets an
        Unavailable in its place.
        """
        commands: list[Command] = [("GET", LOADED)]
        for buyer_id in buyer_ids:
            commands.append(("ZRANGE", key_of(buyer_id), -self._size, -1))
            commands.append(("ZRANGE", apart_key_of(buyer_id), -self._size, -1))
            commands.append(("ZRANGE", dismissed_key_of(buyer_id), -_DISMISSED_SIZE, -1))
        loaded, *replies = await self._guarded(lambda: self._pipelines.run(commands))
        self._is_loaded = loaded is not None
        refusals = [reply for reply in replies if is_refusal(reply)]
        if refusals:
            metrics.REDIS_FAILURES.inc(len(refusals))
            log.error("Redis refused %s of %s reads: %s", len(refusals), len(replies), refusals[0])
        found: list[str | Exception] = []
        for buyer_id, history, *others in zip(buyer_ids, replies[::3], replies[1::3], replies[2::3], strict=True):
            if any(is_refusal(reply) for reply in (history, *others)):
                found.append(Unavailable("Redis refused a command"))
                continue
            packed = pack_reply(history, buyer_id)
            for reply in others:
                if reply != []:
                    packed = merge(packed, pack_reply(reply, buyer_id))
            found.append(packed)
        return found

    async def add(
        self, additions: Sequence[Addition], *, replace: bool = False, logged: Sequence[Command] = ()
    ) -> list[int | Exception]:
        """Merges interactions into histories, or replaces these. Trims each history in the same transaction.

        `logged` are the commands that write the same interactions to the event log: they run in the transaction, too.

        Returns, per buyer, how many of the distinct interactions are kept afterwards, whether they were new or not. A
        buyer that Redis refuses gets an Unavailable in its place.
        """
        parts = [list(self._parts(addition)) for addition in additions]
        commands: list[Command] = list(logged)
        if replace:
            commands.append(("DEL", *(key(one.buyer_id) for one in additions for key in (key_of, apart_key_of))))
        second = self._clock.good_ms() // 1000
        # GT: another process' clock may be ahead, and a history must not live shorter for it
        written = [value for one in additions for value in (second, one.buyer_id)]
        commands.append(("ZADD", WRITTEN, "GT", *written))
        first = len(commands)
        for part in (part for row in parts for part in row):
            commands.extend(self._write_commands(part))
        replies = await self._guarded(lambda: self._transaction(commands))
        failure = next((reply for reply in replies[:first] if isinstance(reply, Exception)), None)
        rest = iter(replies[first:])
        return [_count([(part, [next(rest) for _ in range(3)]) for part in row], failure) for row in parts]

    async def remove(self, buyer_ids: Sequence[str]) -> int:
        """Removes everything that Redis holds of these buyers. Returns how many of them had a history."""
        keys = [("UNLINK", *(prefix + one for prefix in _PREFIXES)) for one in buyer_ids]
        *removed, _ = await self.ask([*keys, ("ZREM", WRITTEN, *buyer_ids)])
        return sum(count > 0 for count in removed)

    async def move(self, source: str, target: str, logged: Sequence[Command]) -> int:
        """Makes what is stored of one buyer part of another's. Returns how many interactions are kept of it.

        It is added before it is removed: whoever asks again after a failure loses nothing and counts nothing twice.
        What is stored of `source` meanwhile stays there.
        """
        keys = [prefix + source for prefix in _PREFIXES]
        replies = await self.ask([("ZRANGE", key, 0, -1) for key in keys])
        parts = [_unpack(pack_reply(reply, source)) for reply in replies]
        if not any(parts):
            await self.ask(logged)
            return 0
        (count,) = await self.add([Addition(target, *parts)], logged=logged)
        if isinstance(count, Exception):
            raise count
        pairs = zip(keys, replies, strict=True)
        await self.ask([("ZREM", key, *members) for key, members in pairs if members])
        return count

    async def ping(self) -> None:
        """Writes and reads a key of its own, also while the breaker is open, which a success closes.

        Raises Unavailable if Redis does not answer, refuses either command, or holds no loaded histories.
        """
        write = [("ZADD", _PROBE, 0, "ready"), ("EXPIRE", _PROBE, _PROBE_SECONDS)]
        commands = [*write, ("ZRANGE", _PROBE, 0, -1), ("GET", LOADED)]
        replies = await self._guarded(lambda: self._pipelines.run(commands), always=True)
        for place, reply in enumerate(replies):
            if isinstance(reply, Exception):
                metrics.REDIS_FAILURES.inc()
                what = "write" if place < len(write) else "read"
                log.error("Redis refuses to %s: %s", what, reply)
                raise Unavailable(_explain(reply, f"Redis refuses to {what}"))
        self._is_loaded = replies[-1] is not None
        if not self._is_loaded:
            raise Unavailable(NOT_LOADED)

    async def ask(self, commands: Sequence[Command]) -> list[Any]:
        """One reply per command. Raises Unavailable if Redis refuses one."""
        replies = await self._guarded(lambda: self._pipelines.run(commands))
        refused = next((reply for reply in replies if isinstance(reply, Exception)), None)
        if refused is not None:
            log.error("Redis refused a command: %s", refused)
            raise Unavailable(_explain(refused, "Redis refused a command"))
        return replies

    async def observe_clock(self) -> None:
        """Compares the clocks: `SharedClock` takes in Redis'."""
        (seconds, microseconds), newest = await self.ask([("TIME",), ("ZREVRANGE", WRITTEN, 0, 0, "WITHSCORES")])
        last_written = float(newest[1]) if newest else None
        self._clock.observe(int(seconds) + int(microseconds) / 1e6, last_written)

    async def expire(self) -> int:
        """Deletes the histories that were not written for the time to live. Returns how many."""
        total, found = 0, _EXPIRE_BUYERS
        while found == _EXPIRE_BUYERS:
            oldest = (self._clock.earliest_ms() - self._ttl_ms) // 1000
            script = ("EVAL", _EXPIRE, 1, WRITTEN, oldest, _EXPIRE_BUYERS, *_PREFIXES)
            (found,) = await self.ask([script])
            total += found
        return total

    async def close(self) -> None:
        if self._running:
            await asyncio.wait(self._running)
        await self._pipelines.close()

    def _parts(self, addition: Addition) -> Iterator[_Part]:
        for key, size, interactions in (
            (key_of(addition.buyer_id), self._size, addition.interactions),
            (apart_key_of(addition.buyer_id), self._size, addition.apart),
            (dismissed_key_of(addition.buyer_id), _DISMISSED_SIZE, addition.dismissed),
        ):
            if interactions:
                yield _Part(key, size, latest(list(set(interactions)), size))

    def _write_commands(self, part: _Part) -> list[Command]:
        """Three commands; the last asks for the oldest interaction that is left."""
        scored = [value for one in part.newest for value in (one.timestamp_ms, wire.pack_interaction(one))]
        return [
            ("ZADD", part.key, *scored),
            ("ZREMRANGEBYRANK", part.key, 0, -part.size - 1),
            ("ZRANGE", part.key, 0, 0, "WITHSCORES"),
        ]

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
        except RedisError as error:
            log.error("Redis refused a command: %s", error)
            raise Unavailable(_explain(error, "Redis refused a command")) from None

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


def _unpack(packed: str) -> list[Interaction]:
    return [Interaction(*one) for one in zip(*wire.unpack_columns(packed), strict=True)]


def _count(parts: list[tuple[_Part, list[Any]]], failure: Exception | None) -> int | Exception:
    """How many interactions of one buyer are kept, from the three replies for each part."""
    kept = 0
    for part, replies in parts:
        failure = failure or next((reply for reply in replies if isinstance(reply, Exception)), None)
        if failure is None:
            _, removed, oldest = replies
            kept += count_kept(part.newest, oldest) if removed else len(part.newest)
    if failure is not None:
        log.error("Redis refused a write: %s", failure)
        return Unavailable(_explain(failure, "Redis refused a write"))
    return kept


def _explain(refusal: Exception, otherwise: str) -> str:
    """What callers may read about a refusal: the two reasons that an operator can remove, or `otherwise`."""
    if isinstance(refusal, OutOfMemoryError):
        return "Redis is full: it stores nothing until it gets more memory"
    if str(refusal).startswith("MISCONF"):
        return "Redis cannot write to its disk, so it stores nothing"
    return otherwise
