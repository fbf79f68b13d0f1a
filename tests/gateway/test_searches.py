"""GET /searches: what is searched most, and what of it finds nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.redis_server import RedisServer
from tests.helpers.services import until
from tests.helpers.stack import Stack, stack


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


async def _counts(system: Stack, name: str) -> list[tuple[str, int]]:
    answer = await system.answer("/searches")
    return [(one["query"], one["count"]) for one in answer[name]]


async def test_searches_are_counted_whatever_their_case_and_by_all_gateways(tiny: Path, redis: RedisServer) -> None:
    async with stack(tiny, redis) as system:
        for q in ("Perfume", "perfume ", "خاتم ذهب", "perfume"):
            await system.answer("/search", q=q)
        await system.answer("/search", q="خاتم", category="زهور")
        # what a program asks for is no search of a person
        await system.answer("/search", q="عطر", understand="false")
        assert await _counts(system, "top") == [("perfume", 3), ("خاتم", 1), ("خاتم ذهب", 1)]
        assert await _counts(system, "without_result") == [("خاتم", 1)]
    async with stack(tiny, redis) as system:
        await system.answer("/search", q="PERFUME")
        assert (await _counts(system, "top"))[0] == ("perfume", 4)


async def test_while_redis_is_down_the_counts_wait(tiny: Path, redis: RedisServer) -> None:
    async with stack(tiny, redis) as system:
        redis.kill()
        await system.answer("/search", q="perfume")
        assert (await system.get("/searches")).status_code == 503
        redis.start()
        await until(lambda: system.get("/searches"), lambda answer: answer.status_code == 200)
        assert await _counts(system, "top") == [("perfume", 1)]
