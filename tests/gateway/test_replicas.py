"""Two replicas of a service as processes: one that is killed, stopped, drained or started shows to no caller."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.helpers.processes import Process, is_log, process
from tests.helpers.redis_server import RedisServer
from tests.helpers.stack import gateway

# requests, and the seconds between two of them
REQUESTS, PAUSE = 250, 0.012


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with RedisServer() as running:
        yield running


def start(stack: ExitStack, artifacts: Path, port: int = 0) -> tuple[Process, int]:
    environ = {"TWOTOWER_ARTIFACTS": str(artifacts), "TWOTOWER_RETRIEVAL_PORT": str(port)}
    replica = stack.enter_context(process("-m", "retrieval_service", environ=environ))
    return replica, json.loads(replica.wait_for(lambda line: is_log(line, "listening")))["port"]


async def statuses(client: httpx.AsyncClient) -> list[int]:
    """Asks again and again without waiting for answers, for three seconds."""

    async def ask() -> int:
        return (await client.get("/similar", params={"product_id": "p1", "k": 5})).status_code

    asked = []
    for _ in range(REQUESTS):
        asked.append(asyncio.create_task(ask()))
        await asyncio.sleep(PAUSE)
    return list(await asyncio.gather(*asked))


@pytest.mark.parametrize(
    ("ending", "may_fail"), [(signal.SIGKILL, 0), (signal.SIGTERM, 0), (signal.SIGSTOP, REQUESTS // 100)]
)
async def test_a_replica_that_ends_or_hangs_is_covered_by_the_other(
    tiny: Path, redis: RedisServer, ending: signal.Signals, may_fail: int
) -> None:
    with ExitStack() as stack:
        (first, one), (_, other) = start(stack, tiny), start(stack, tiny)
        address = f"ipv4:127.0.0.1:{one},127.0.0.1:{other}"
        async with gateway(redis_url=redis.url, retrieval_address=address) as client:
            asking = asyncio.create_task(statuses(client))
            await asyncio.sleep(0.5)
            first.popen.send_signal(ending)
            found = await asking
    assert len(found) - found.count(200) <= may_fail, found


async def test_a_replica_that_starts_gets_calls_only_when_it_can_answer(tiny: Path, redis: RedisServer) -> None:
    with ExitStack() as stack:
        (first, one), (_, other) = start(stack, tiny), start(stack, tiny)
        address = f"ipv4:127.0.0.1:{one},127.0.0.1:{other}"
        async with gateway(redis_url=redis.url, retrieval_address=address) as client:
            first.popen.send_signal(signal.SIGKILL)
            asking = asyncio.create_task(statuses(client))
            await asyncio.to_thread(start, stack, tiny, one)
            found = await asking
    assert set(found) == {200}
