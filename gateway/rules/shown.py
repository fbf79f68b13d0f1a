"""The products that a session or a buyer was shown lately, in Redis, for the rules that show none of them again.

One text per owner, to which each list is appended: reading it costs one copy, where a sorted set of as many products
costs Redis and the gateway a step for each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from gateway.clients.batching import Batcher, Limits
from gateway.clients.deadline import Deadline
from gateway.history.codec import shown_key_of
from gateway.history.connection import Batch
from gateway.history.redis_client import RedisClient

# products that are kept of one session or buyer: the newest ones
_KEPT = 500
# bytes that are read: 500 ids of 30 bytes, and at least one entry of the longest ids
_READ_BYTES = 16 << 10
# the text is cut when it is so long
_MOST_BYTES = 4 * _READ_BYTES
# products of one entry
_ENTRY = 100
_CUT = """
local last = redis.call('GETRANGE', KEYS[1], -tonumber(ARGV[1]), -1)
redis.call('SET', KEYS[1], last, 'KEEPTTL')
"""


class Shown(NamedTuple):
    """Lists of products, the newest first, and when each was shown, in milliseconds."""

    product_ids: list[list[str]]
    times: list[int]

    def since(self, start_ms: int) -> frozenset[str]:
        """The products that were shown then or later."""
        return frozenset[str]().union(*(ids for ids, at in zip(*self, strict=True) if at >= start_ms))


class _Write(NamedTuple):
    owner: str
    product_ids: Sequence[str]
    now_ms: int
    seconds: int


class ShownProducts:
    """Batches reads and writes. Raises Unavailable while Redis is down."""

    def __init__(self, redis: RedisClient, limits: Limits) -> None:
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
        replies = await self._redis.ask_each([Batch(key, [("GETRANGE", key, -_READ_BYTES, -1)]) for key in keys])
        return [unpack_shown(found) for (found,) in replies]

    async def _write(self, group: str, writes: list[_Write], timeout: float) -> list[int]:
        batches = []
        for one in writes:
            key = shown_key_of(one.owner)
            packed = pack_shown(one.product_ids, one.now_ms)
            batches.append(Batch(key, [("APPEND", key, packed), ("EXPIRE", key, max(one.seconds, 1))]))
        lengths = [int(length) for length, _ in await self._redis.ask_each(batches)]
        long = [batch.key for batch, length in zip(batches, lengths, strict=True) if length > _MOST_BYTES]
        if long:
            await self._redis.ask_each([Batch(key, [("EVAL", _CUT, 1, key, _READ_BYTES)]) for key in long])
        return lengths


def pack_shown(product_ids: Sequence[str], now_ms: int) -> str:
    """The entries of a list: each begins with two NUL, which stand nowhere in it, and has its time, then its ids."""
    parts = [product_ids[start : start + _ENTRY] for start in range(0, len(product_ids), _ENTRY)]
    return "".join(f"\0\0{now_ms}\0" + "\0".join(ids) for ids in parts)


def unpack_shown(packed: bytes) -> Shown:
    """The newest entries; the first one is left out if its beginning has been cut off."""
    entries = packed.split(b"\0\0")[:0:-1]
    found, count = Shown([], []), 0
    for entry in entries:
        if count >= _KEPT:
            break
        time, *ids = entry.decode().split("\0")
        found.product_ids.append(ids)
        found.times.append(int(time))
        count += len(ids)
    return found
