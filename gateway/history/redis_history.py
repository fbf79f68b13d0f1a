"""Each buyer's newest interactions in Redis: one sorted set per buyer, scored by time.

A member is `product NUL event NUL milliseconds`. Ids hold no control characters, so NUL sorts before all of their
characters. Members with the same score are therefore sorted by product, then event: the order of
`twotower.history.latest`.

A second sorted set per buyer, of the same size, holds interactions with products that the served version did not know
when they were written. So they never displace known ones, and a later version that knows them finds them.

A third one holds the products that the buyer has dismissed: they are no part of a history, and expire with it.

No history has a time to live in Redis, because Redis' clock may jump. The sets `WRITTEN_KEYS` have the second of each
buyer's last write, by the last good clock, and `expire` deletes what is too old.

In a Redis cluster, the keys of one buyer lie on one node, and what concerns several buyers concerns several nodes: each
buyer is written in a transaction of its own there. A single server writes all buyers of a call or none.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

from redis.exceptions import (
    AskError,
    AuthenticationError,
    ClusterDownError,
    MasterDownError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from gateway import metrics
from gateway.history.breaker import Breaker
from gateway.history.clock import SharedClock
from gateway.history.codec import (
    LOADED,
    PROBE_KEYS,
    WRITTEN_KEYS,
    Addition,
    apart_key_of,
    count_kept,
    dismissed_key_of,
    is_refusal,
    key_of,
    keys_of,
    merge,
    pack_reply,
    shown_key_of,
    written_key_of,
)
from gateway.history.connection import Ask, Batch, Command, RedisPipelines
from gateway.history.kafka_log import KafkaLog
from twotower.errors import Unavailable
from twotower.event_log import STREAM
from twotower.events import Interaction
from twotower.history import latest
from twotower.serving import wire

log = logging.getLogger(__name__)

# why known buyers are not known now
NOT_LOADED = "Redis holds no loaded histories: it is new, or it has lost its data"
_PROBE_SECONDS = 60
# buyers deleted by one call of the script; Redis serves nobody else while it runs
_EXPIRE_BUYERS = 100
# of the buyers from ARGV[2] on, each with three keys, deletes those whose last write is not newer than ARGV[1], and
# says how many. It works in a full Redis, too
_EXPIRE = """
local expired = 0
for place = 2, #ARGV do
  local written = redis.call('ZSCORE', KEYS[1], ARGV[place])
  if written and tonumber(written) <= tonumber(ARGV[1]) then
    redis.call('UNLINK', KEYS[3 * place - 4], KEYS[3 * place - 3], KEYS[3 * place - 2])
    redis.call('ZREM', KEYS[1], ARGV[place])
    expired = expired + 1
  end
end
return expired
"""

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
        # where the event log is, if not in Redis
        self.kafka: KafkaLog | None = None
        self._running: set[asyncio.Task[Any]] = set()
        self._is_loaded = True
        # the last refusal that was logged; the same one again is not
        self._refusal = ""
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
        batches = [Batch(LOADED, [("GET", LOADED)])]
        for buyer_id in buyer_ids:
            history, *others = keys_of(buyer_id)
            sizes = (self._size, _DISMISSED_SIZE)
            reads = [("ZRANGE", key, -size, -1) for key, size in zip(others, sizes, strict=True)]
            batches.append(Batch(history, [("ZRANGE", history, -self._size, -1), *reads]))
        (loaded,), *replies = await self._guarded(lambda: self._pipelines.run(batches))
        if not isinstance(loaded, Exception):
            self._is_loaded = loaded is not None
        refusals = [reply for row in replies for reply in row if is_refusal(reply)]
        if refusals:
            metrics.REDIS_FAILURES.inc(len(refusals))
            log.error("Redis refused %s of %s reads: %s", len(refusals), 3 * len(replies), _said(refusals[0]))
        found: list[str | Exception] = []
        for buyer_id, row in zip(buyer_ids, replies, strict=True):
            if (refusal := next(filter(is_refusal, row), None)) is not None:
                found.append(Unavailable(_explain(refusal, "Redis refused a command")))
                continue
            packed = pack_reply(row[0], buyer_id)
            for reply in row[1:]:
                if reply != []:
                    packed = merge(packed, pack_reply(reply, buyer_id))
            found.append(packed)
        return found

    async def add(
        self, additions: Sequence[Addition], *, replace: bool = False, logged: Sequence[Command] = ()
    ) -> list[int | Exception]:
        """Merges interactions into histories, or replaces these. Trims each history in the same transaction.

        `logged` are the commands that write the same interactions to the event log. One server runs them in the same
        transaction. In a cluster the log has a node of its own: if it refuses, every buyer gets an Unavailable.

        Returns, per buyer, how many of the distinct interactions are kept afterwards, whether they were new or not. A
        buyer that Redis refuses gets an Unavailable in its place. One server writes all buyers or none, and raises the
        reason; a cluster writes each buyer or not.
        """
        parts = [list(self._parts(addition)) for addition in additions]
        second, batches = self._clock.good_ms() // 1000, [Batch(STREAM, logged)] if logged and not self.kafka else []
        for addition, row in zip(additions, parts, strict=True):
            buyer_id, key = addition.buyer_id, key_of(addition.buyer_id)
            commands: list[Command] = [("DEL", key, apart_key_of(buyer_id))] if replace else []
            # GT: another process' clock may be ahead, and a history must not live shorter for it
            commands.append(("ZADD", written_key_of(buyer_id), "GT", second, buyer_id))
            for part in row:
                commands.extend(self._write_commands(part))
            batches.append(Batch(key, commands))
        answers = await self._guarded(lambda: self._pipelines.transact(batches))
        if logged and self.kafka:
            # no caller gets a 200 for what the log lacks; sent again, what is stored counts once
            await self.kafka.write(logged)
        elif logged:
            written, *answers = answers
            if (failure := _refusal_in(written)) is not None:
                # no caller gets a 200 for what the log lacks
                answers = [failure] * len(additions)
        return [_count(row, replies) for row, replies in zip(parts, answers, strict=True)]

    async def remove(self, buyer_ids: Sequence[str]) -> int:
        """Removes everything that Redis holds of these buyers. Returns how many of them had a history."""
        removed = await self._ask_batches(
            [
                Batch(key_of(one), [("UNLINK", *keys_of(one), shown_key_of(one)), ("ZREM", written_key_of(one), one)])
                for one in buyer_ids
            ]
        )
        return sum(count > 0 for count, _ in removed)

    async def move(self, source: str, target: str, logged: Sequence[Command]) -> int:
        """Makes what is stored of one buyer part of another's. Returns how many interactions are kept of it.

        It is added before it is removed: whoever asks again after a failure loses nothing and counts nothing twice.
        What is stored of `source` meanwhile stays there.
        """
        keys = keys_of(source)
        replies = await self.ask(keys[0], [("ZRANGE", key, 0, -1) for key in keys])
        parts = [_unpack(pack_reply(reply, source)) for reply in replies]
        if not any(parts):
            if logged:
                await self.write_log(logged)
            return 0
        (count,) = await self.add([Addition(target, *parts)], logged=logged)
        if isinstance(count, Exception):
            raise count
        pairs = zip(keys, replies, strict=True)
        await self.ask(keys[0], [("ZREM", key, *members) for key, members in pairs if members])
        return count

    async def write_log(self, commands: Sequence[Command]) -> None:
        """Writes entries of the event log, which belong to no history. Raises Unavailable."""
        if self.kafka:
            await self.kafka.write(commands)
        else:
            await self.ask(STREAM, commands)

    async def ping(self) -> None:
        """Writes and reads a key of its own on each server, also while the breaker is open, which a success closes.

        Raises Unavailable if Redis does not answer, refuses either command, or holds no loaded histories.
        """

        async def ask() -> list[list[Any]]:
            probes = [
                Batch(key, [("ZADD", key, 0, "ready"), ("EXPIRE", key, _PROBE_SECONDS), ("ZRANGE", key, 0, -1)])
                for key in await self._pipelines.one_per_node(PROBE_KEYS)
            ]
            return await self._pipelines.run([*probes, Batch(LOADED, [("GET", LOADED)])])

        *probed, (loaded,) = await self._guarded(ask, always=True)
        for what, reply in [
            *(("write", reply) for added, expires, _ in probed for reply in (added, expires)),
            *(("read", kept) for _, _, kept in probed),
            ("read", loaded),
        ]:
            if isinstance(reply, Exception):
                metrics.REDIS_FAILURES.inc()
                log.error("Redis refuses to %s: %s", what, _said(reply))
                raise Unavailable(_explain(reply, f"Redis refuses to {what}"))
        self._is_loaded = loaded is not None
        if not self._is_loaded:
            raise Unavailable(NOT_LOADED)

    async def ask(self, key: str, commands: Sequence[Command]) -> list[Any]:
        """One reply per command; their keys lie in the slot of `key`. Raises Unavailable if Redis refuses one."""
        (replies,) = await self._ask_batches([Batch(key, commands)])
        return replies

    async def ask_each(self, batches: Sequence[Batch]) -> list[list[Any]]:
        """The replies of each batch. Raises Unavailable if Redis refuses a command."""
        return await self._ask_batches(batches)

    async def ask_nodes(self, command: Command) -> list[Any]:
        """The reply of each server that holds keys. Raises Unavailable if one refuses."""

        async def ask() -> list[list[Any]]:
            return [await node([command]) for node in await self._pipelines.nodes()]

        return [reply for (reply,) in self._accepted(await self._guarded(ask))]

    async def scan(self, pattern: str) -> AsyncIterator[list[bytes]]:
        """All keys of this pattern, in parts, server by server. Raises Unavailable like `ask`."""
        for node in await self._guarded(self._pipelines.nodes):
            cursor: bytes | None = None
            while cursor != b"0":
                command = ("SCAN", cursor or b"0", "MATCH", pattern, "COUNT", 1000)
                ((reply,),) = self._accepted([await self._guarded(_asked(node, command))])
                cursor, keys = reply
                yield keys

    async def observe_clock(self) -> None:
        """Compares the clocks: `SharedClock` takes in Redis'. In a cluster, that of the node with the mark."""
        (clock,) = await self.ask(LOADED, [("TIME",)])
        last_written = None
        if not self._clock.has_observed:
            newest = await self._ask_batches(
                [Batch(key, [("ZREVRANGE", key, 0, 0, "WITHSCORES")]) for key in WRITTEN_KEYS]
            )
            last_written = max((float(found[1]) for (found,) in newest if found), default=None)
        seconds, microseconds = clock
        self._clock.observe(int(seconds) + int(microseconds) / 1e6, last_written)

    async def expire(self) -> int:
        """Deletes the histories that were not written for the time to live. Returns how many."""
        total, keys = 0, list(WRITTEN_KEYS)
        while keys:
            oldest = (self._clock.earliest_ms() - self._ttl_ms) // 1000
            found = await self._ask_batches(
                [Batch(key, [("ZRANGEBYSCORE", key, "-inf", oldest, "LIMIT", 0, _EXPIRE_BUYERS)]) for key in keys]
            )
            due = {
                key: [buyer.decode() for buyer in buyers] for key, (buyers,) in zip(keys, found, strict=True) if buyers
            }
            expired = await self._ask_batches([_expiry(key, oldest, buyers) for key, buyers in due.items()])
            total += sum(count for (count,) in expired)
            keys = [key for key, buyers in due.items() if len(buyers) == _EXPIRE_BUYERS]
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

    async def _ask_batches(self, batches: Sequence[Batch]) -> list[list[Any]]:
        if not batches:
            return []
        return self._accepted(await self._guarded(lambda: self._pipelines.run(batches)))

    def _accepted(self, answers: list[list[Any]]) -> list[list[Any]]:
        """The replies. Raises Unavailable, and logs the reason once, if one of them is a refusal."""
        refused = next((reply for replies in answers for reply in replies if isinstance(reply, Exception)), None)
        if refused is None:
            self._refusal = ""
            return answers
        if (said := _said(refused)) != self._refusal:
            log.error("Redis refused a command: %s", said)
        self._refusal = said
        raise Unavailable(_explain(refused, "Redis refused a command"))

    async def _guarded(self, ask: Callable[[], Coroutine[Any, Any, Answer]], *, always: bool = False) -> Answer:
        """The result of `ask`, unless the breaker is open; with `always`, even then."""
        if not always:
            self._breaker.check()
        task = asyncio.create_task(ask())
        self._running.add(task)
        task.add_done_callback(self._finished)
        try:
            return await asyncio.shield(task)
        except (RedisConnectionError, RedisTimeoutError, OSError) as error:
            # the breaker logs the reason, which holds addresses that callers need not see
            raise Unavailable(_explain(error, "Redis does not answer")) from None
        except RedisError as error:
            log.error("Redis refused a command: %s", _said(error))
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


def _refusal_in(replies: list[Any] | Exception) -> Exception | None:
    """Why a transaction did not run, or the first command of it that was refused."""
    if isinstance(replies, Exception):
        return replies
    return next((one for one in replies if isinstance(one, Exception)), None)


def _count(parts: list[_Part], replies: list[Any] | Exception) -> int | Exception:
    """How many interactions of one buyer are kept, from the replies of the transaction: three for each part at the end,
    or why it did not run."""
    if (refused := _refusal_in(replies)) is not None:
        log.error("Redis refused a write: %s", _said(refused))
        return Unavailable(_explain(refused, "Redis refused a write"))
    assert isinstance(replies, list)
    rest, kept = iter(replies[-3 * len(parts) :]), 0
    for part in parts:
        _, removed, oldest = (next(rest) for _ in range(3))
        kept += count_kept(part.newest, oldest) if removed else len(part.newest)
    return kept


def _expiry(key: str, oldest: int, buyers: Sequence[str]) -> Batch:
    keys = [name for buyer in buyers for name in keys_of(buyer)]
    return Batch(key, [("EVAL", _EXPIRE, 1 + len(keys), key, *keys, oldest, *buyers)])


def _asked(node: Ask, command: Command) -> Callable[[], Coroutine[Any, Any, list[Any]]]:
    async def ask() -> list[Any]:
        return await node([command])

    return ask


# what a caller and an operator may read about a refusal that an operator can end; the first that fits
_EXPLAINED: list[tuple[type[Exception], str]] = [
    (OutOfMemoryError, "Redis is full: it stores nothing until it gets more memory"),
    (AskError, "Redis is a cluster: TWOTOWER_GATEWAY_REDIS_URL must begin with redis+cluster:// (rediss+cluster://)"),
    (MasterDownError, "this Redis is a replica that has lost its primary: it reads and stores nothing"),
    (ClusterDownError, "the Redis cluster is down: it has slots without a node"),
    (AuthenticationError, "Redis refuses the user name or the password"),
    (NoPermissionError, "Redis' access rules (ACL) do not allow a command or a key that histories need"),
    (ReadOnlyError, "this Redis is a replica, which stores nothing: the URL must name the primary, or Sentinel"),
]


def _explain(refusal: Exception, otherwise: str) -> str:
    """What callers may read about a refusal: a reason that an operator can remove, or `otherwise`."""
    if str(refusal).startswith("MISCONF"):
        return "Redis cannot write to its disk, so it stores nothing"
    if isinstance(refusal, Unavailable):
        return str(refusal)
    if isinstance(refusal, (RedisConnectionError, RedisTimeoutError, OSError)):
        otherwise = "Redis does not answer"
    return next((text for kind, text in _EXPLAINED if isinstance(refusal, kind)), otherwise)


def _said(refusal: Exception) -> str:
    """What the log says of a refusal: redis-py takes the first word of Redis' answer away."""
    explained = _explain(refusal, "")
    return f"{refusal} ({explained})" if explained else str(refusal)
