"""From a click to the trainer: what was acknowledged is read once, whatever was killed in between."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from redis import Redis

from tests.helpers.processes import Process, is_log, process
from tests.helpers.redis_server import RedisServer
from tests.helpers.services import until
from tests.helpers.stack import Stack, stack
from trainer.data.event_log.reading import read_log
from twotower.event_log import STREAM

DURABLE = ("--appendonly", "yes", "--appendfsync", "always")


@contextmanager
def recording(redis: RedisServer, artifacts: Path) -> Iterator[Process]:
    environ = {
        "TWOTOWER_ARTIFACTS": str(artifacts),
        "TWOTOWER_RECORDER_REDIS_URL": redis.url,
        "TWOTOWER_RECORDER_FLUSH_SECONDS": "0.05",
        "TWOTOWER_RECORDER_RETRY_SECONDS": "0.05",
    }
    with process("-m", "recorder", environ=environ) as running:
        running.wait_for(lambda line: is_log(line, "recording"))
        yield running


async def click(system: Stack, sent: set[str], acknowledged: set[str], stop: asyncio.Event, client: int) -> None:
    """Sends interactions, each with an id; one that is not acknowledged comes once more, with the same id."""
    number = 0
    while not stop.is_set():
        number += 1
        name = f"c{client}-{number}"
        body = {"event_id": name, "buyer_id": f"b{client}", "product_id": f"p{number % 40}", "event_type": "View"}
        sent.add(name)
        for _ in range(2):
            try:
                answer = await system.post("/interactions", {**body, "timestamp": 1_735_732_800_000 + number})
            except httpx.HTTPError:
                continue
            if answer.status_code == 200:
                acknowledged.add(name)
                break
            await asyncio.sleep(0.01)


async def test_kill_9_of_recorder_and_redis_under_load(tiny: Path, tmp_path: Path) -> None:
    sent, acknowledged, stop = set[str](), set[str](), asyncio.Event()
    with RedisServer(options=DURABLE) as redis:
        async with stack(tiny, redis, event_log=True) as system:
            clients = [asyncio.create_task(click(system, sent, acknowledged, stop, one)) for one in range(8)]
            with recording(redis, tmp_path) as first:
                await until(lambda: len(acknowledged) > 50)
                first.popen.send_signal(signal.SIGKILL)
            await until(lambda: len(acknowledged) > 100)
            with recording(redis, tmp_path) as second:
                redis.kill()
                await asyncio.sleep(0.1)
                redis.start()
                before = len(acknowledged)
                await until(lambda: len(acknowledged) > before + 50)
                stop.set()
                await asyncio.gather(*clients)
                with Redis(port=redis.port) as raw:
                    await until(lambda: raw.xlen(STREAM) == 0)
                second.popen.send_signal(signal.SIGTERM)
                assert await asyncio.to_thread(second.finish) == 0
    found = read_log(tmp_path / "private" / "log").interactions["event_id"].to_list()
    assert len(found) == len(set(found))
    assert acknowledged <= set(found) <= sent
