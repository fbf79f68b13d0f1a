"""Histories expire by the last good clock, whatever a clock shows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from gateway.history.breaker import Breaker
from gateway.history.clock import SharedClock
from gateway.history.codec import Addition, written_key_of
from gateway.history.connect import connect_redis
from gateway.history.expiry import expire
from gateway.history.redis_client import RedisClient
from gateway.history.redis_history import RedisHistory
from gateway.settings import GatewaySettings
from tests.helpers.histories import unpack_history
from tests.helpers.redis_server import RedisServer
from twotower.events import Interaction

DAY = 86_400.0
START = 1_800_000_000.0
VIEW = [Interaction("p1", "View", 1)]


class Clocks:
    def __init__(self) -> None:
        self.steady = 0.0
        self.shared = SharedClock(lambda: self.steady, lambda: START + self.steady)


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with RedisServer() as running:
        yield running


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


@pytest_asyncio.fixture
async def history(server: RedisServer, clocks: Clocks) -> AsyncIterator[RedisHistory]:
    pipelines = connect_redis(GatewaySettings(redis_url=server.url))
    opened = RedisHistory(RedisClient(pipelines, Breaker("Redis", 0.05)), 50, clocks.shared)
    yield opened
    await opened.close()


async def known(history: RedisHistory) -> list[bool]:
    return [bool(unpack_history(str(one))) for one in await history.read(["old", "new"])]


async def test_a_history_expires_90_days_after_its_last_write(history: RedisHistory, clocks: Clocks) -> None:
    await history.add([Addition("old", VIEW, [Interaction("p2", "View", 2)])])
    clocks.steady += 10 * DAY
    await history.add([Addition("new", VIEW)])
    clocks.steady += 80 * DAY - 2
    assert await expire(history.redis, history.clock, 90.0) == 0
    clocks.steady += 4
    assert await expire(history.redis, history.clock, 90.0) == 1
    assert await known(history) == [False, True]
    # nothing of the expired buyer is left
    assert await history.redis.ask_nodes(("KEYS", "*old*")) == [[]]


async def test_a_clock_that_jumps_ten_years_ahead_expires_nothing(history: RedisHistory, clocks: Clocks) -> None:
    await history.add([Addition("old", VIEW), Addition("new", VIEW)])
    clocks.shared.observe(START, None)
    clocks.shared.observe(START + 3650 * DAY, START)
    assert await expire(history.redis, history.clock, 90.0) == 0
    assert await known(history) == [True, True]
    # what is written under the jumped clock is stamped by the good one
    written = written_key_of("new")
    await history.add([Addition("new", VIEW)])
    assert (await history.redis.ask(written, [("ZSCORE", written, "new")])) == [b"1800000000"]


async def test_more_buyers_than_one_call_of_the_script(history: RedisHistory, clocks: Clocks) -> None:
    await history.add([Addition(f"b{number}", VIEW) for number in range(250)])
    clocks.steady += 91 * DAY
    assert await expire(history.redis, history.clock, 90.0) == 250
    assert await history.redis.ask_nodes(("DBSIZE",)) == [0]
