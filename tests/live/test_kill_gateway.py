"""Nothing acknowledged is lost or counted twice: gateway and recorder end by SIGKILL under interactions and changes."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from redis import Redis

from tests.helpers.processes import Process, is_log, process
from tests.helpers.redis_server import RedisServer, free_port
from tests.helpers.services import running, until
from trainer.data.event_log.reading import read_log
from twotower.event_log import STREAM
from twotower.live.records import CHANGES
from twotower.live.snapshot import read_snapshot, snapshot_file

pytestmark = pytest.mark.asyncio

DURABLE = ("--appendonly", "yes", "--appendfsync", "always")
DELETED, HIDDEN = "p1", "p2"


@dataclass
class Load:
    """Clients that send until they are stopped; what is not acknowledged is sent once more, the same in every field.

    `clicks` are event ids, `prices` those of new products, `leaks` the answers that show a removed product.
    """

    client: httpx.AsyncClient
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    sent: set[str] = field(default_factory=set)
    clicks: set[str] = field(default_factory=set)
    prices: dict[str, float] = field(default_factory=dict)
    out: set[str] = field(default_factory=set)
    answers: int = 0
    leaks: list[str] = field(default_factory=list)

    async def click(self, name: int) -> None:
        async for number in self._numbers():
            event_id = f"c{name}-{number}"
            self.sent.add(event_id)
            body = {"event_id": event_id, "buyer_id": f"b{name}", "product_id": f"p{3 + number % 30}"}
            body |= {"event_type": "View", "timestamp": str(1_735_732_800_000 + number)}
            if await self._accepted("POST", "/interactions", body):
                self.clicks.add(event_id)

    async def change(self) -> None:
        async for number in self._numbers():
            body = {"title": f"عقيق يماني {number}", "price": float(number)}
            if await self._accepted("PUT", f"/products/k{number}", body):
                self.prices[f"k{number}"] = float(number)

    async def look(self) -> None:
        async for _ in self._numbers():
            try:
                # what was out before the question is in no answer to it
                out = set(self.out)
                for path in ("/popular?k=200", "/similar?product_id=p0&k=200", "/retrieve?buyer_id=b0&k=200"):
                    answer = await self.client.get(path)
                    if answer.status_code == 200:
                        self.answers += 1
                        self.leaks += [f"{path}: {one}" for one in out & set(answer.json()["product_ids"])]
            except httpx.HTTPError:
                await asyncio.sleep(0.01)

    async def _numbers(self) -> AsyncIterator[int]:
        number = 0
        while not self.stop.is_set():
            yield number
            number += 1

    async def _accepted(self, method: str, path: str, body: object) -> bool:
        for _ in range(2):
            try:
                answer = await self.client.request(method, path, json=body)
            except httpx.HTTPError:
                # the gateway is away: it may have accepted this, or not
                await asyncio.sleep(0.05)
                continue
            if answer.status_code == 200:
                return True
            assert answer.status_code in (503, 504), answer.text
        return False


@asynccontextmanager
async def _recording(redis: RedisServer, artifacts: Path) -> AsyncIterator[Process]:
    environ = {"TWOTOWER_ARTIFACTS": str(artifacts), "TWOTOWER_RECORDER_REDIS_URL": redis.url}
    environ |= {f"TWOTOWER_RECORDER_{name}_SECONDS": "0.05" for name in ("FLUSH", "RETRY", "CATALOGUE")}
    with process("-m", "recorder", environ=environ) as started:
        # the clients go on meanwhile
        await asyncio.to_thread(started.wait_for, lambda line: is_log(line, "recording"))
        yield started


@asynccontextmanager
async def _gateways(tiny: Path, redis: RedisServer) -> AsyncIterator[tuple[str, Callable[[], Process]]]:
    """The address of a gateway over real services, and a function that starts it, after a kill too."""
    async with (
        running("item", tiny) as item,
        running("buyer", tiny) as buyer,
        running("retrieval", tiny, catalogue_url=redis.url) as retrieval,
    ):
        port = free_port()
        addresses = {"ITEM": item.address, "BUYER": buyer.address, "RETRIEVAL": retrieval.address}
        values = {f"{name}_ADDRESS": address for name, address in addresses.items()}
        values |= {"PORT": str(port), "REDIS_URL": redis.url, "REDIS_RETRY_SECONDS": "0.05"}
        values |= {"EVENT_LOG": "true", "LIVE_CATALOGUE": "true"}
        environ = {f"TWOTOWER_GATEWAY_{name}": value for name, value in values.items()}
        contexts = []

        def start() -> Process:
            contexts.append(process("-m", "gateway", environ=environ))
            return contexts[-1].__enter__()

        try:
            yield f"http://127.0.0.1:{port}", start
        finally:
            for one in contexts:
                one.__exit__(None, None, None)


async def _take_out(load: Load) -> None:
    """Deletes one product and hides another, and waits until each has left the lists for the first time."""
    for method, product, body in (("DELETE", DELETED, None), ("PATCH", HIDDEN, {"hidden": True})):
        url = f"/products/{product}"
        await until(
            lambda method=method, url=url, body=body: load.client.request(method, url, json=body),
            lambda answer: answer.status_code == 200,
        )
        await until(
            lambda: load.client.get("/popular?k=200"),
            lambda one, product=product: one.status_code == 200 and product not in one.json()["product_ids"],
        )
        load.out.add(product)


async def test_kill_9_of_gateway_and_recorder_under_load(tiny: Path, tmp_path: Path) -> None:
    with RedisServer(options=DURABLE) as redis, Redis(port=redis.port) as raw:
        redis.mark_loaded()
        async with (
            _gateways(tiny, redis) as (address, start),
            httpx.AsyncClient(base_url=address, timeout=30, trust_env=False) as client,
        ):
            load = Load(client)

            async def more(count: int) -> None:
                clicks, prices, answers = len(load.clicks), len(load.prices), load.answers
                await until(
                    lambda: (
                        len(load.clicks) >= clicks + count
                        and len(load.prices) >= prices + count // 5
                        and load.answers > answers
                    )
                )

            first = start()
            tasks = [asyncio.create_task(one) for one in [*map(load.click, range(4)), load.change(), load.look()]]
            async with _recording(redis, tmp_path) as recorder:
                await more(30)
                await _take_out(load)
                first.popen.kill()
                start()
                await more(30)
                recorder.popen.kill()
                await more(30)
            async with _recording(redis, tmp_path) as again:
                await more(30)
                load.stop.set()
                await asyncio.gather(*tasks)
                await until(lambda: raw.xlen(STREAM) == 0)
                copy = snapshot_file(tmp_path / "private" / "log")
                counted = [int(place.partition(b"-")[0]) for place, _ in raw.xrange(CHANGES)]
                await until(lambda: read_snapshot(copy).position.sequence == counted[-1])
                again.popen.terminate()
                assert await asyncio.to_thread(again.finish) == 0
    assert load.leaks == []
    logged = Counter(read_log(tmp_path / "private" / "log").interactions["event_id"].to_list())
    assert set(logged.values()) == {1}
    assert load.clicks <= set(logged) <= load.sent
    states = {one.product_id: one for one in read_snapshot(copy).states}
    assert {one: states[one].fields["price"] for one in load.prices} == load.prices
    assert states[DELETED].is_deleted and states[HIDDEN].is_hidden
    # every number is there once, and no two products share a change
    assert counted == list(range(1, len(counted) + 1))
    assert len({one.sequence for one in states.values()}) == len(states)
