"""Requests while a replica of a service hangs, dies, drains or starts: real processes, and every answer is checked."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.helpers.processes import Process, is_log, process
from tests.helpers.redis_server import RedisServer, free_port
from tests.helpers.services import cache_of, running, serving, until
from tests.helpers.stack import Reference, as_json, event, gateway

HISTORY = [event("p4", "View", 30), event("p8", "AddToCart", 20), event("p12", "Purchase", 10)]
# requests a second: they overlap, and each replica has some under way at any time
RATE = 50


class Replica:
    """One process of a service on a port of its own."""

    def __init__(self, service: str, artifacts: Path, exits: AsyncExitStack) -> None:
        self._service, self._artifacts, self._exits = service, artifacts, exits
        self.port = free_port()
        self.process: Process | None = None

    def start(self) -> None:
        environ = {
            "TWOTOWER_ARTIFACTS": str(self._artifacts),
            "TWOTOWER_CACHE": str(cache_of(self._artifacts)),
            "TWOTOWER_LOG_LEVEL": "DEBUG",
            f"TWOTOWER_{self._service.upper()}_PORT": str(self.port),
        }
        self.process = self._exits.enter_context(process("-m", f"{self._service}_service", environ=environ))

    async def ready(self) -> None:
        await serving(f"127.0.0.1:{self.port}")

    async def answered(self) -> None:
        """Waits until this process has answered a call since its start: the gateway has reached it."""
        assert self.process is not None
        await asyncio.to_thread(self.process.wait_for, lambda line: is_log(line, "call answered"))

    def send(self, number: int) -> None:
        assert self.process is not None
        self.process.popen.send_signal(number)


class Shop:
    """A gateway, and what its clients got."""

    def __init__(self, client: httpx.AsyncClient, replicas: list[Replica], artifacts: Path) -> None:
        self._client = client
        self.replicas = replicas
        reference = Reference(artifacts, "tiny-a")
        self._wanted = {
            "/similar": list(reference.best(reference.vectors[reference.row["p1"]], 6))[1:],
            "/retrieve": list(reference.best(reference.buyer(HISTORY), 5)),
            "/popular": list(reference.popular(5)),
        }
        self.answers: Counter[str] = Counter()

    async def ask(self, number: int) -> None:
        path, query = ("/retrieve", {"buyer_id": "b"}) if number % 2 else ("/similar", {"product_id": "p1"})
        answer = await self._client.get(path, params={"k": 5, **query})
        self.answers[self._judge(path, answer)] += 1

    def _judge(self, path: str, answer: httpx.Response) -> str:
        if answer.status_code != 200:
            return f"{answer.status_code} {answer.json()['detail']}"
        found = answer.json()
        if found["source"] == "popular" and path == "/retrieve":
            return "popular" if found["product_ids"] == self._wanted["/popular"] and found["warnings"] else "wrong"
        return "right" if found["product_ids"] == self._wanted[path] else "wrong"

    async def load(self, fault: Awaitable[object]) -> Counter[str]:
        """Sends requests at a steady rate while `fault` runs, and counts the answers."""
        self.answers.clear()
        asking, over, number = set[asyncio.Task[None]](), asyncio.ensure_future(fault), 0
        begun = asyncio.get_running_loop().time()
        while not over.done():
            asking.add(asyncio.create_task(self.ask(number)))
            number += 1
            await asyncio.sleep(begun + number / RATE - asyncio.get_running_loop().time())
        await over
        await asyncio.gather(*asking)
        return self.answers


@pytest.fixture
def redis() -> Any:
    with RedisServer() as server:
        yield server


@asynccontextmanager
async def shop(tiny: Path, redis: RedisServer, service: str, replicas: int = 2) -> AsyncIterator[Shop]:
    """A gateway with so many processes of `service`; the others run in this process."""
    async with AsyncExitStack() as exits:
        made = [Replica(service, tiny, exits) for _ in range(replicas)]
        for replica in made:
            replica.start()
        for replica in made:
            await replica.ready()
        addresses = {f"{service}_address": "ipv4:" + ",".join(f"127.0.0.1:{one.port}" for one in made)}
        for other in {"item", "buyer", "retrieval"} - {service}:
            addresses[f"{other}_address"] = (await exits.enter_async_context(running(other, tiny))).address
        client = await exits.enter_async_context(gateway(redis_url=redis.url, access_log=False, **addresses))
        body = {"buyer_id": "b", "recent_interactions": as_json(HISTORY)}
        assert (await client.post("/encode_buyer", json=body)).status_code == 200
        yield Shop(client, made, tiny)


@pytest.mark.parametrize("service", ["retrieval", "buyer"])
async def test_one_of_two_replicas_hangs(tiny: Path, redis: RedisServer, service: str) -> None:
    async with shop(tiny, redis, service) as it:
        hung = it.replicas[0]

        async def fault() -> None:
            await asyncio.sleep(0.3)
            hung.send(signal.SIGSTOP)
            await asyncio.sleep(2)
            hung.send(signal.SIGCONT)
            await asyncio.sleep(0.5)

        answers = await it.load(fault())
    assert answers["right"] >= 0.99 * answers.total(), answers


async def test_one_of_two_replicas_is_killed_the_other_drained_and_both_start(tiny: Path, redis: RedisServer) -> None:
    async with shop(tiny, redis, "retrieval") as it:
        first, second = it.replicas

        async def fault() -> None:
            for replica, number in ((first, signal.SIGKILL), (second, signal.SIGTERM)):
                await asyncio.sleep(0.3)
                replica.send(number)
                await asyncio.sleep(0.5)
                replica.start()
                await replica.ready()
                await replica.answered()

        answers = await it.load(fault())
    assert answers["right"] == answers.total(), answers


async def test_without_its_only_buyer_service_the_shop_gets_popular_products(tiny: Path, redis: RedisServer) -> None:
    async with shop(tiny, redis, "buyer", replicas=1) as it:

        async def kill() -> None:
            await asyncio.sleep(0.3)
            it.replicas[0].send(signal.SIGKILL)
            await asyncio.sleep(1)

        answers = await it.load(kill())
        assert answers["popular"] and answers["right"] + answers["popular"] == answers.total(), answers
        it.replicas[0].start()
        await it.replicas[0].ready()
        await until(lambda: it.load(asyncio.sleep(0.2)), lambda found: found["right"] == found.total())
