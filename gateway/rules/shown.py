"""The products that a session or a buyer was shown lately, in Redis, for the rules that show none of them again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from gateway.clients.batching import Batcher, Limits
from gateway.clients.deadline import Deadline
from gateway.history.codec import shown_key_of
from gateway.history.connection import Batch
from gateway.history.redis_history import RedisHistory

# products that are kept of one session or buyer: the newest ones
_KEPT = 500


class Shown(NamedTuple):
    """Products, and when each was shown, in milliseconds."""

    product_ids: list[str]
    times: list[int]

    def since(self, start_ms: int) -> list[str]:
        """Those that were shown then or later."""
        return [one for one, at in zip(*self, strict=True) if at >= start_ms]


class _Write(NamedTuple):
    owner: str
    product_ids: Sequence[str]
    now_ms: int
    seconds: int


class ShownProducts:
    """Batches reads and writes. Raises Unavailable while Redis is down."""

    def __init__(self, redis: RedisHistory, limits: Limits) -> None:
        self._redis = redis
        self._reads: Batcher[str, Shown] = Batcher("Redis shown", self._read, limits)
        self._writes: Batcher[_Write, int] = Batcher("Redis shown writes", self._write, limits)

    async def read(self, owner: str, deadline: Deadline) -> Shown:
        """What the owner of a history was shown."""
        return await self._reads.call(owner, deadline)

    async def add(self, owner: str, product_ids: Sequence[str], now_ms: int, hours: float, deadline: Deadline) -> None:
        """Notes that the products were shown now; they are forgotten after so many hours without another list."""
        await self._writes.call(_Write(owner, product_ids, now_ms, round(hours * 3600)), deadline)

    async def close(self) -> None:
        await self._reads.close()
        await self._writes.close()

    async def _read(self, group: str, owners: list[str], timeout: float) -> list[Shown]:
        keys = map(shown_key_of, owners)
        replies = await self._redis.ask_each([Batch(key, [("ZRANGE", key, 0, -1, "WITHSCORES")]) for key in keys])
        return [
            Shown([one.decode() for one in found[::2]], [int(float(at)) for at in found[1::2]]) for (found,) in replies
        ]

    async def _write(self, group: str, writes: list[_Write], timeout: float) -> list[int]:
        batches = []
        for one in writes:
            key = shown_key_of(one.owner)
            scored = [value for product in one.product_ids for value in (one.now_ms, product)]
            batches.append(
                Batch(
                    key,
                    [
                        ("ZADD", key, *scored),
                        ("ZREMRANGEBYRANK", key, 0, -_KEPT - 1),
                        ("EXPIRE", key, max(one.seconds, 1)),
                    ],
                )
            )
        return [int(added) for added, *_ in await self._redis.ask_each(batches)]
