"""Redis that restarts, comes back empty or is full: nothing is lost, or everybody is told."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from redis import Redis

from demo.supervisor import DURABLE
from gateway import warm
from gateway.history.codec import KEY_PREFIX, LOADING
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


def test_replace_drops_what_redis_has_of_the_versions_buyers(tmp_path: Path) -> None:
    build_version(tmp_path, "a", buyers=3)
    with RedisServer() as redis:
        client = Redis(port=redis.port)
        for buyer in ("b1", "other"):
            client.zadd(KEY_PREFIX + buyer, {"p5\0View\x001": 1})
        assert warm.main(["--artifacts", str(tmp_path), "--redis", redis.url, "--replace"]) == 0
        assert client.zscore(KEY_PREFIX + "b1", "p5\0View\x001") is None
        assert client.zcard(KEY_PREFIX + "b1") == 4 and client.zcard(KEY_PREFIX + "other") == 1


async def test_an_append_only_file_keeps_acknowledged_writes(tmp_path: Path) -> None:
    build_version(tmp_path, "a", buyers=3)
    with RedisServer(options=[*DURABLE, "--appendfsync", "always"]) as redis:
        async with stack(tmp_path, redis) as system:
            for number in range(50):
                given = VIEW | {"buyer_id": f"n{number}"}
                assert (await system.post("/interactions", given)).json()["stored"] == 1
            redis.kill()
            redis.start()
            await until(lambda: source_of(system, "n0"), lambda answer: answer == ("model", []))
            assert {(await source_of(system, f"n{number}"))[0] for number in range(50)} == {"model"}


async def test_a_full_redis_refuses_writes_reads_on_and_evicts_nobody(tmp_path: Path) -> None:
    build_version(tmp_path, "a", buyers=3)
    with RedisServer(options=DURABLE) as redis:
        async with stack(tmp_path, redis) as system:
            assert (await system.post("/interactions", VIEW)).json()["stored"] == 1
            Redis(port=redis.port).config_set("maxmemory", "100kb")
            refused = await system.post("/interactions", VIEW | {"buyer_id": "another"})
            assert (refused.status_code, json.loads(refused.text)["detail"]) == (
                503,
                "Redis is full: it stores nothing until it gets more memory",
            )
            assert await source_of(system, "live") == ("model", [])
            ready = (await system.get("/readyz")).json()
            assert (ready["status"], ready["dependencies"]["redis"]) == (
                "degraded",
                "Redis is full: it stores nothing until it gets more memory",
            )
