"""Redis killed with -9 and started again: what it had acknowledged is there."""

from __future__ import annotations

import asyncio

import pytest

from demo.supervisor import DURABLE
from gateway.history.breaker import Breaker
from gateway.history.clock import SharedClock
from gateway.history.codec import Addition
from gateway.history.connect import connect_redis
from gateway.history.redis_client import RedisClient
from gateway.history.redis_history import RedisHistory
from gateway.settings import GatewaySettings
from tests.helpers.histories import unpack_history
from tests.helpers.redis_server import RedisServer
from tests.helpers.services import until
from twotower.errors import Unavailable
from twotower.events import Interaction

WRITES = 300


def connect(server: RedisServer) -> RedisHistory:
    pipelines = connect_redis(GatewaySettings(redis_url=server.url))
    return RedisHistory(RedisClient(pipelines, Breaker("Redis", 0.05)), 50, SharedClock())


async def write(history: RedisHistory, start: int, acknowledged: list[int]) -> None:
    """Writes one buyer after the other until Redis is gone; notes each acknowledged one."""
    for number in range(start, start + 1_000_000):
        try:
            (stored,) = await history.add([Addition(f"b{number}", [Interaction("p1", "View", number)])])
        except Unavailable:
            return
        assert stored == 1
        acknowledged.append(number)


async def lost(history: RedisHistory, numbers: list[int]) -> list[int]:
    found = await history.read([f"b{number}" for number in numbers])
    kept = [unpack_history(str(one)) for one in found]
    return [number for number, one in zip(numbers, kept, strict=True) if one != [Interaction("p1", "View", number)]]


async def test_with_always_no_acknowledged_write_is_lost() -> None:
    acknowledged: list[int] = []
    with RedisServer(options=[*DURABLE, "--appendfsync", "always"]) as server:
        history = connect(server)
        writers = [asyncio.create_task(write(history, part * 1_000_000, acknowledged)) for part in range(4)]
        await until(lambda: len(acknowledged) >= WRITES)
        server.kill()
        await asyncio.gather(*writers)
        await history.close()
        server.start()
        history = connect(server)
        assert await lost(history, acknowledged) == []
        await history.close()


async def test_with_everysec_no_acknowledged_write_older_than_the_sync_is_lost() -> None:
    acknowledged: list[int] = []
    with RedisServer(options=[*DURABLE, "--appendfsync", "everysec"]) as server:
        history = connect(server)
        writer = asyncio.create_task(write(history, 0, acknowledged))
        await until(lambda: len(acknowledged) >= WRITES)
        older = list(acknowledged)

        async def is_synced() -> bool:
            # Redis writes its buffer before it answers, or within two seconds if a sync is under way
            (info,) = await history.redis.ask_nodes(("INFO", "persistence"))
            return b"aof_pending_bio_fsync:0" in info and b"aof_buffer_length:0" in info

        await until(is_synced)
        server.kill()
        await writer
        await history.close()
        server.start()
        history = connect(server)
        assert await lost(history, older) == []
        await history.close()


async def test_without_an_append_only_file_all_is_lost() -> None:
    """The check above can fail."""
    with RedisServer() as server:
        history = connect(server)
        await history.add([Addition("b1", [Interaction("p1", "View", 1)])])
        await history.close()
        server.kill()
        server.start()
        history = connect(server)
        assert await lost(history, [1]) == [1]
        with pytest.raises(Unavailable, match="it has lost its data"):
            await history.ping()
        await history.close()
