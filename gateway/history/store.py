"""The histories as requests use them, one buyer at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from gateway.clients.batching import Batcher, Limits
from gateway.clients.deadline import Deadline
from gateway.history.codec import Addition
from gateway.history.connection import Command
from gateway.history.redis_history import RedisHistory


class _Write(NamedTuple):
    """What one request stores, and the commands that log it."""

    additions: Sequence[Addition]
    logged: Sequence[Command]


def _size(write: _Write) -> int:
    return len(write.additions)


class HistoryStore:
    """Batches concurrent reads into one pipeline, and concurrent writes into one transaction."""

    def __init__(self, stored: RedisHistory, limits: Limits) -> None:
        self.stored = stored
        self._reads: Batcher[str, str] = Batcher("Redis reads", self._read, limits)
        self._writes: Batcher[_Write, int] = Batcher("Redis writes", self._write, limits, size=_size)

    async def read(self, buyer_id: str, deadline: Deadline) -> str:
        """One buyer's newest interactions, oldest first, packed. Raises Unavailable if Redis is down."""
        return await self._reads.call(buyer_id, deadline)

    async def add(self, additions: Sequence[Addition], deadline: Deadline, logged: Sequence[Command] = ()) -> int:
        """Stores the interactions of one request, all or none. Returns how many of them Redis keeps now.

        `logged` as for `RedisHistory.add`: what is stored is in the event log.
        """
        return await self._writes.call(_Write(additions, logged), deadline)

    @property
    def is_loaded(self) -> bool:
        """Whether histories had been loaded into Redis when it was last read."""
        return self.stored.is_loaded

    async def close(self) -> None:
        await self._reads.close()
        await self._writes.close()
        await self.stored.close()

    async def _read(self, group: str, buyer_ids: list[str], timeout: float) -> Sequence[str | Exception]:
        return await self.stored.read(buyer_ids)

    async def _write(self, group: str, requests: list[_Write], timeout: float) -> list[int | Exception]:
        additions = [addition for write in requests for addition in write.additions]
        logged = [command for write in requests for command in write.logged]
        written = iter(await self.stored.add(additions, logged=logged))
        results: list[int | Exception] = []
        for write in requests:
            counts = [next(written) for _ in write.additions]
            failed = next((count for count in counts if isinstance(count, Exception)), None)
            results.append(failed or sum(count for count in counts if isinstance(count, int)))
        return results
