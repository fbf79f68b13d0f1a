"""Redis that comes back empty: answers and `/readyz` say so, and it is filled again."""

from __future__ import annotations

import asyncio
from pathlib import Path

from redis import Redis

from gateway import warm
from gateway.history.codec import LOADING
from gateway.history.redis_history import NOT_LOADED
from tests.helpers.processes import process
from tests.helpers.redis_server import RedisServer
from tests.helpers.services import until
from tests.helpers.stack import Stack, stack
from tests.helpers.tiny_version import build_version

LOST = f"the buyer's history cannot be read: {NOT_LOADED}"
VIEW = {"buyer_id": "live", "product_id": "p1", "event_type": "View", "timestamp": "2025-01-01"}


async def source_of(system: Stack, buyer: str) -> tuple[str, list[str]]:
    answer = await system.answer("/retrieve", buyer_id=buyer)
    return answer["source"], answer["warnings"]


async def test_a_redis_that_comes_back_empty_is_noticed_and_filled_again(tmp_path: Path) -> None:
    build_version(tmp_path, "a", buyers=3)
    with RedisServer() as redis:
        assert await asyncio.to_thread(warm.main, ["--artifacts", str(tmp_path), "--redis", redis.url]) == 0
        async with stack(tmp_path, redis) as system:
            assert await source_of(system, "b1") == ("model", [])
            # nobody lost the history of a buyer who never had one
            assert await source_of(system, "nobody") == ("popular", [])
            redis.kill()
            redis.start()
            await until(lambda: source_of(system, "b1"), lambda answer: answer == ("popular", [LOST]))
            ready = (await system.get("/readyz")).json()
            assert ready["status"] == "degraded" and ready["dependencies"]["redis"] == NOT_LOADED
            assert (await system.post("/interactions", VIEW)).json()["stored"] == 1
            command = ["-m", "gateway.warm", "--artifacts", str(tmp_path), "--redis", redis.url, "--watch"]
            with process(*command) as watching:
                watching.wait_for(lambda line: "warmed 3 buyers with 12 interactions of version a" in line)
                await until(lambda: source_of(system, "b1"), lambda answer: answer == ("model", []))
                # what came meanwhile is still there
                assert (await source_of(system, "live"))[0] == "model"
                assert (await system.get("/readyz")).json()["status"] == "ready"
                # and once more, without an operator
                Redis(port=redis.port).flushall()
                watching.wait_for(lambda line: "warmed 3 buyers with 12 interactions of version a" in line)


def test_one_loader_at_a_time(tmp_path: Path) -> None:
    build_version(tmp_path, "a", buyers=3)
    with RedisServer() as redis:
        Redis(port=redis.port).set(LOADING, "1", ex=2)
        with process("-m", "gateway.warm", "--artifacts", str(tmp_path), "--redis", redis.url, "--watch") as watching:
            # when the other one's time is over
            watching.wait_for(lambda line: "warmed 3 buyers" in line)
            assert not Redis(port=redis.port).exists(LOADING)
            watching.popen.terminate()
            assert watching.finish() == 0
