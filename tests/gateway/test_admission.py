"""What finds room beside expensive requests, and what does not."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from gateway.admission import (
    EXPENSIVE,
    SMALL_BODY,
    Admission,
    AdmissionLimits,
    cost_of_encode,
    cost_of_list,
    cost_of_store,
)
from gateway.clients.deadline import Deadline
from gateway.schemas.requests import RetrieveQuery
from tests.gateway.test_failures import faked
from tests.helpers.redis_server import RedisServer
from tests.helpers.services import until
from twotower.errors import Overloaded
from twotower.search import diversity

DEAR = EXPENSIVE + 6


class Clock:
    """A clock that moves only when somebody sleeps or a test moves it."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def admission(clock: Clock | None = None, **limits: Any) -> Admission:
    values = {"cost": 10.0, "expensive_cost": 30.0, "expensive_share": 0.25, "body_bytes": 1 << 20, **limits}
    clock = clock or Clock()
    return Admission(AdmissionLimits(**values), clock, clock.sleep)


def listed(**values: Any) -> float:
    return cost_of_list(RetrieveQuery.model_construct(buyer_id="b", **{"k": 10, **values}))


def test_costs() -> None:
    assert listed() == listed(k=1000) == 1.0
    assert listed(k=1000, diversity=1.0) == 1 + 1000 * 1000 / 80_000
    assert listed(k=100, diversity=0.5) == 1 + 100 * 400 / 80_000
    assert listed(k=1000, include=("products",)) == 5.0
    assert listed(exclude=("p",) * 1000) == 3.0
    # a page with a diverse list, and a history of fifty, are ordinary
    assert listed(k=100, diversity=0.2, include=("products",), exclude=("p",) * 50) < EXPENSIVE
    assert cost_of_encode(5000) < cost_of_store(5000) < EXPENSIVE
    # five thousand interactions are not
    assert cost_of_encode(400_000) > EXPENSIVE < cost_of_store(400_000)
    assert listed(k=1000, diversity=1.0) > EXPENSIVE < listed(k=300, diversity=1.0)


@pytest.mark.parametrize("k", [1, 10, 249, 250, 251, 1000])
def test_the_cost_counts_the_candidates_that_the_index_compares(k: int) -> None:
    assert listed(k=k, diversity=0.1) == 1 + k * diversity.candidates(k, 0.1) / 80_000


class Held:
    """Requests that run until a test lets them go, in the order in which they began."""

    def __init__(self, of: Admission) -> None:
        self._admission = of
        self.began: list[str] = []
        self._gates: dict[str, asyncio.Event] = {}

    def start(self, name: str, cost: float, seconds: float = 60.0) -> asyncio.Task[str]:
        self._gates[name] = asyncio.Event()

        async def work() -> str:
            self.began.append(name)
            await self._gates[name].wait()
            return name

        return asyncio.create_task(self._admission.run(cost, Deadline.after(seconds), work))

    def end(self, name: str) -> None:
        self._gates[name].set()


async def turns(count: int = 20) -> None:
    """Lets everything run that can."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_expensive_requests_run_one_at_a_time_in_the_order_of_arrival_and_keep_no_ordinary_one_out() -> None:
    held = Held(admission())
    expensive = [held.start(name, DEAR) for name in "abc"]
    await turns()
    refused = held.start("d", DEAR)
    with pytest.raises(Overloaded, match=r"a request that costs 10 has to wait: .* cost 30, the limit is 30"):
        await refused
    # the ordinary ones have a limit of their own, which is not touched
    ordinary = [held.start(str(number), 1.0) for number in range(10)]
    await turns()
    assert held.began == ["a", *(str(number) for number in range(10))]
    with pytest.raises(Overloaded, match="the requests under way cost 10, the limit is 10"):
        await held.start("too many", 1.0)
    for number in range(10):
        held.end(str(number))
    assert await asyncio.gather(*ordinary) == [str(number) for number in range(10)]
    for place, name in enumerate("abc"):
        assert [one for one in held.began if one.isalpha()] == list("abc"[: place + 1])
        held.end(name)
        await turns()
    assert await asyncio.gather(*expensive) == ["a", "b", "c"]
    again = held.start("again", DEAR)
    held.end("again")
    assert await again == "again"


async def test_one_that_costs_more_than_the_limit_is_admitted_if_it_is_alone() -> None:
    held = Held(admission(expensive_cost=20.0))
    first = held.start("a", 1000.0)
    await turns()
    with pytest.raises(Overloaded):
        await held.start("b", DEAR)
    held.end("a")
    assert await first == "a"


async def test_after_an_expensive_request_the_next_one_waits_until_the_ordinary_ones_had_their_share() -> None:
    clock = Clock()
    gate = admission(clock)

    async def nothing() -> None:
        pass

    async def dear(*, beside: int) -> None:
        async def work() -> None:
            clock.now += 0.5
            for _ in range(beside):
                await gate.run(1.0, Deadline.after(60), nothing)

        await gate.run(DEAR, Deadline.after(60), work)

    # nobody else is there: no wait
    await dear(beside=0)
    await dear(beside=0)
    assert clock.slept == []
    # 0.5 s are a quarter of 2 s
    await dear(beside=3)
    await dear(beside=0)
    assert clock.slept == [1.5]
    await dear(beside=0)
    assert clock.slept == [1.5]


async def test_one_that_gets_no_turn_in_time_is_refused_and_leaves_the_line() -> None:
    held = Held(admission())
    first = held.start("a", DEAR)
    await turns()
    with pytest.raises(Overloaded, match="other expensive requests took all the time of this one"):
        await held.start("late", DEAR, seconds=0.01)
    given_up = held.start("given up", DEAR)
    await turns()
    given_up.cancel()
    third = held.start("b", DEAR)
    await turns()
    held.end("a")
    held.end("b")
    assert await asyncio.gather(first, third) == ["a", "b"]
    assert held.began == ["a", "b"]


def test_bodies_have_room_together_and_small_ones_always() -> None:
    gate = admission(body_bytes=100_000)
    with gate.body() as one, gate.body() as other:
        one.need(60_000)
        one.need(50_000)
        with pytest.raises(Overloaded, match="have 60000 bytes; 50000 more would exceed the limit of 100000"):
            other.need(50_000)
        other.need(SMALL_BODY)
        other.need(40_000)
    with gate.body() as one:
        one.need(100_000)


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


def diverse(client: httpx.AsyncClient, buyer: str, **query: Any) -> asyncio.Task[httpx.Response]:
    params = {"buyer_id": buyer, "k": 1000, "diversity": 1, **query}
    return asyncio.create_task(client.get("/retrieve", params=params))


async def test_expensive_lists_are_refused_over_http_and_ordinary_ones_are_answered(redis: RedisServer) -> None:
    """S6_diversity.txt of the attacks, many at a time: each costs 13.5, so three have room."""
    async with faked(redis, request_timeout_seconds=60.0, max_expensive_cost=45.0, max_cost=8.0) as (fake, client):
        fake.gate.clear()
        asking = {diverse(client, f"b{row}") for row in range(12)}
        await until(lambda: sum(one.done() for one in asking) == 9)
        refused = [one.result() for one in asking if one.done()]
        assert {(one.status_code, one.headers["retry-after"], one.json()["type"]) for one in refused} == {
            (503, "1", "urn:twotower:overloaded")
        }
        assert all("a request that costs 14 has to wait" in one.json()["detail"] for one in refused)
        ordinary = [asyncio.create_task(client.get("/retrieve", params={"buyer_id": f"c{row}"})) for row in range(8)]
        # one expensive call and the ordinary ones are with the service
        await until(lambda: len(fake.metadata) >= 2)
        fake.gate.set()
        assert [one.status_code for one in await asyncio.gather(*ordinary)] == [200] * 8
        assert sorted(one.status_code for one in await asyncio.gather(*asking)) == [200] * 3 + [503] * 9
        metrics = (await client.get("/metrics")).text
        assert 'twotower_requests_refused_total{kind="expensive"}' in metrics


async def test_a_connection_beyond_the_limit_is_refused_only_if_all_others_are_busy(redis: RedisServer) -> None:
    async with faked(redis, max_connections=3, max_batch=1, request_timeout_seconds=60.0) as (fake, client):
        fake.gate.clear()
        asking = [asyncio.create_task(client.get("/retrieve", params={"buyer_id": f"b{row}"})) for row in range(3)]
        # each travels alone
        await until(lambda: len(fake.metadata) == 3)
        reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
        refused = await asyncio.wait_for(reader.read(), 30)
        writer.close()
        assert refused.startswith(b"HTTP/1.1 503") and b"retry-after: 1" in refused
        assert b"every connection of this gateway is busy" in refused
        fake.gate.set()
        assert [one.status_code for one in await asyncio.gather(*asking)] == [200] * 3


async def test_a_large_body_is_refused_before_it_arrives_and_the_connection_stays_usable(redis: RedisServer) -> None:
    async with faked(redis, request_timeout_seconds=60.0, max_expensive_cost=20.0) as (fake, client):
        fake.gate.clear()
        running = diverse(client, "b")
        await until(lambda: fake.metadata)
        reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
        size = 500_000
        headers = f"Host: x\r\nContent-Type: application/json\r\nContent-Length: {size}"
        writer.write(f"POST /interactions HTTP/1.1\r\n{headers}\r\n\r\n".encode())
        # no byte of the body has been sent
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
        assert head.startswith(b"HTTP/1.1 503") and b"retry-after: 1" in head.lower()
        writer.write(b" " * size + b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        rest = await asyncio.wait_for(reader.read(), 30)
        assert b"HTTP/1.1 200" in rest and rest.endswith(b'{"status":"alive"}')
        writer.close()
        small = await client.post("/interactions", json={"buyer_id": "s", **ROW})
        assert (small.status_code, small.json()["stored"]) == (200, 1)
        fake.gate.set()
        assert (await running).status_code == 200


ROW = {"product_id": "p1", "event_type": "View", "timestamp": 1_760_000_000_000}


async def test_a_body_of_many_interactions_is_stored_as_before(redis: RedisServer) -> None:
    rows = [{"buyer_id": f"many{row % 7}", **ROW, "timestamp": ROW["timestamp"] + row} for row in range(700)]  # type: ignore[operator]
    async with faked(redis) as (_, client):
        response = await client.post("/interactions", json={"interactions": rows})
        assert (response.status_code, response.json()["stored"]) == (200, 7 * 50)
        rows[-1]["event_type"] = "Nothing"
        refused = await client.post("/interactions", json={"interactions": rows})
        assert (refused.status_code, refused.json()["field"]) == (422, "interactions[699].event_type")


async def test_other_hosts_and_pages_are_refused_if_the_settings_say_so(redis: RedisServer) -> None:
    origin = {"Origin": "https://shop.example"}
    async with faked(redis) as (_, client):
        response = await client.get("/healthz", headers={"Host": "evil.example", **origin})
        assert response.status_code == 200
        assert "access-control-allow-origin" not in response.headers
    async with faked(redis, allowed_hosts="shop.example, *.shop.example", cors_origins="https://shop.example") as (
        _,
        client,
    ):
        for host, status in (("evil.example", 400), ("api.shop.example", 200), ("shop.example:8000", 200)):
            response = await client.get("/retrieve", params={"buyer_id": "b"}, headers={"Host": host, **origin})
            assert (response.status_code, "x-request-id" in response.headers) == (status, True)
        assert response.headers["access-control-allow-origin"] == "https://shop.example"
        asked = {"Host": "shop.example", "Access-Control-Request-Method": "POST"}
        asked["Access-Control-Request-Headers"] = "content-type"
        for page, status in (("https://shop.example", 200), ("https://evil.example", 400)):
            response = await client.options("/interactions", headers={**asked, "Origin": page})
            assert response.status_code == status
            assert ("access-control-allow-origin" in response.headers) == (status == 200)
