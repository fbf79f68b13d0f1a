"""Each buyer's newest interactions in Redis: one sorted set per buyer, scored by time.

A member is `product NUL event NUL milliseconds`. Ids hold no control characters, so NUL sorts before all of their
characters. Members with the same score are therefore sorted by product, then event: the order of
`twotower.history.latest`.

A second sorted set per buyer, of the same size, holds interactions with products that the served version did not know
when they were written. So they never displace known ones, and a later version that knows them finds them.

A third one holds the products that the buyer has dismissed: they are no part of a history, and expire with it.

The sets `WRITTEN_KEYS` have the second of each buyer's last write, by which `gateway.history.expiry` deletes what is
too old.

In a Redis cluster, the keys of one buyer lie on one node, and what concerns several buyers concerns several nodes: each
buyer is written in a transaction of its own there. A single server writes all buyers of a call or none.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from gateway import metrics
from gateway.history.clock import SharedClock
from gateway.history.codec import (
    LOADED,
    PROBE_KEYS,
    Addition,
    apart_key_of,
    count_kept,
    dismissed_key_of,
    key_of,
    keys_of,
    merge,
    pack_reply,
    shown_key_of,
    written_key_of,
)
from gateway.history.connection import Batch, Command, RedisPipelines
from gateway.history.kafka_log import KafkaLog
from gateway.history.redis_client import RedisClient
from gateway.history.refusals import describe, explain, is_refusal, refusal_in
from twotower.errors import Unavailable
from twotower.event_log import STREAM
from twotower.events import Interaction
from twotower.history import latest
from twotower.serving import wire

log = logging.getLogger(__name__)

# why known buyers are not known now
NOT_LOADED = "Redis holds no loaded histories: it is new, or it has lost its data"
_PROBE_SECONDS = 60
# dismissed products kept of a buyer, the newest
_DISMISSED_SIZE = 200


class _Part(NamedTuple):
    """The interactions that one request adds to one sorted set."""

    key: str
    size: int
    newest: list[Interaction]


class RedisHistory:
    """Reads and extends histories, many buyers at a time.

    Every method raises Unavailable if Redis refuses or does not answer.
    """

    def __init__(self, redis: RedisClient, size: int, clock: SharedClock) -> None:
        self.redis = redis
        self.clock = clock
        # where the event log is, if not in Redis
        self.kafka: KafkaLog | None = None
        self._size = size
        self._is_loaded = True

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
        (loaded,), *replies = await self.redis.run(lambda pipelines: pipelines.run(batches))
        if not isinstance(loaded, Exception):
            self._is_loaded = loaded is not None
        refusals = [reply for row in replies for reply in row if is_refusal(reply)]
        if refusals:
            metrics.REDIS_FAILURES.inc(len(refusals))
            log.error("Redis refused %s of %s reads: %s", len(refusals), 3 * len(replies), describe(refusals[0]))
        found: list[str | Exception] = []
        for buyer_id, row in zip(buyer_ids, replies, strict=True):
            if (refusal := next(filter(is_refusal, row), None)) is not None:
                found.append(Unavailable(explain(refusal, "Redis refused a command")))
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
        second, batches = self.clock.good_ms() // 1000, [Batch(STREAM, logged)] if logged and not self.kafka else []
        for addition, row in zip(additions, parts, strict=True):
            buyer_id, key = addition.buyer_id, key_of(addition.buyer_id)
            commands: list[Command] = [("DEL", key, apart_key_of(buyer_id))] if replace else []
            # GT: another process' clock may be ahead, and a history must not live shorter for it
            commands.append(("ZADD", written_key_of(buyer_id), "GT", second, buyer_id))
            for part in row:
                commands.extend(self._write_commands(part))
            batches.append(Batch(key, commands))
        answers = await self.redis.run(lambda pipelines: pipelines.transact(batches))
        if logged and self.kafka:
            # no caller gets a 200 for what the log lacks; sent again, what is stored counts once
            await self.kafka.write(logged)
        elif logged:
            written, *answers = answers
            if (failure := refusal_in(written)) is not None:
                # no caller gets a 200 for what the log lacks
                answers = [failure] * len(additions)
        return [_count(row, replies) for row, replies in zip(parts, answers, strict=True)]

    async def remove(self, buyer_ids: Sequence[str]) -> int:
        """Removes everything that Redis holds of these buyers. Returns how many of them had a history."""
        removed = await self.redis.ask_each(
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
        replies = await self.redis.ask(keys[0], [("ZRANGE", key, 0, -1) for key in keys])
        parts = [_unpack(pack_reply(reply, source)) for reply in replies]
        if not any(parts):
            if logged:
                await self.write_log(logged)
            return 0
        (count,) = await self.add([Addition(target, *parts)], logged=logged)
        if isinstance(count, Exception):
            raise count
        pairs = zip(keys, replies, strict=True)
        await self.redis.ask(keys[0], [("ZREM", key, *members) for key, members in pairs if members])
        return count

    async def write_log(self, commands: Sequence[Command]) -> None:
        """Writes entries of the event log, which belong to no history. Raises Unavailable."""
        if self.kafka:
            await self.kafka.write(commands)
        else:
            await self.redis.ask(STREAM, commands)

    async def ping(self) -> None:
        """Writes and reads a key of its own on each server, also while the breaker is open, which a success closes.

        Raises Unavailable if Redis does not answer, refuses either command, or holds no loaded histories.
        """
        *probed, (loaded,) = await self.redis.run(_probe, always=True)
        for what, reply in [
            *(("write", reply) for added, expires, _ in probed for reply in (added, expires)),
            *(("read", kept) for _, _, kept in probed),
            ("read", loaded),
        ]:
            if isinstance(reply, Exception):
                metrics.REDIS_FAILURES.inc()
                log.error("Redis refuses to %s: %s", what, describe(reply))
                raise Unavailable(explain(reply, f"Redis refuses to {what}"))
        self._is_loaded = loaded is not None
        if not self._is_loaded:
            raise Unavailable(NOT_LOADED)

    async def close(self) -> None:
        await self.redis.close()

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


async def _probe(pipelines: RedisPipelines) -> list[list[Any]]:
    """Writes and reads a key of its own on each server, then reads whether histories are loaded."""
    probes = [
        Batch(key, [("ZADD", key, 0, "ready"), ("EXPIRE", key, _PROBE_SECONDS), ("ZRANGE", key, 0, -1)])
        for key in await pipelines.one_per_node(PROBE_KEYS)
    ]
    return await pipelines.run([*probes, Batch(LOADED, [("GET", LOADED)])])


def _unpack(packed: str) -> list[Interaction]:
    return [Interaction(*one) for one in zip(*wire.unpack_columns(packed), strict=True)]


def _count(parts: list[_Part], replies: list[Any] | Exception) -> int | Exception:
    """How many interactions of one buyer are kept, from the replies of the transaction: three for each part at the end,
    or why it did not run."""
    if (refused := refusal_in(replies)) is not None:
        log.error("Redis refused a write: %s", describe(refused))
        return Unavailable(explain(refused, "Redis refused a write"))
    assert isinstance(replies, list)
    rest, kept = iter(replies[-3 * len(parts) :]), 0
    for part in parts:
        _, removed, oldest = (next(rest) for _ in range(3))
        kept += count_kept(part.newest, oldest) if removed else len(part.newest)
    return kept
