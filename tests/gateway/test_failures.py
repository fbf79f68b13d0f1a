"""What is left when something is down, and what comes back with it."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from redis import Redis

from gateway.history.codec import apart_key_of, key_of
from gateway.history.redis_history import NOT_LOADED
from gateway.pipeline import product_lists
from gateway.schemas.answers import ReadyAnswer
from tests.helpers.processes import process
from tests.helpers.redis_server import RedisServer, free_port
from tests.helpers.services import running, until
from tests.helpers.stack import Reference, Stack, as_json, check_list, event, gateway, stack
from twotower.pb import retrieval_pb2, retrieval_pb2_grpc
from twotower.serving.rpc_method import RpcMethod
from twotower.serving.status import REQUEST_ID_KEY

HISTORY = [event("p4", "View", 30), event("p8", "AddToCart", 20), event("p12", "Purchase", 10)]
BODY = {"buyer_id": "b", "recent_interactions": as_json(HISTORY)}


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


async def readiness(client: httpx.AsyncClient) -> tuple[int, str]:
    response = await client.get("/readyz")
    return response.status_code, response.json()["status"]


async def test_redis_killed_and_started_again(tiny: Path, redis: RedisServer) -> None:
    reference = Reference(tiny, "tiny-a")
    async with stack(tiny, redis) as system:
        assert (await system.post("/encode_buyer", BODY)).json()["stored"] == 3
        redis.kill()
        encoded = await system.post("/encode_buyer", BODY)
        assert encoded.status_code == 200
        assert encoded.json()["stored"] == 0
        assert "nothing was stored" in encoded.json()["warnings"][0]
        assert encoded.json()["buyer_embedding"] == pytest.approx(reference.buyer(HISTORY).tolist(), abs=1e-5)
        for _ in range(3):
            popular = await system.answer("/retrieve", buyer_id="b", k=5)
            check_list(popular, reference.popular(5))
            assert popular["source"] == "popular"
            assert "the buyer's history cannot be read: Redis" in popular["warnings"][0]
        assert (await system.get("/retrieve", buyer_id="b", fallback="none")).status_code == 503
        kept = await system.post("/interactions", {"buyer_id": "b", **BODY["recent_interactions"][0]})  # type: ignore[dict-item]
        assert kept.status_code == 503
        assert kept.headers["retry-after"] == "1"
        assert "Redis" in kept.json()["detail"]
        response = await system.get("/readyz")
        assert (response.status_code, response.json()["status"]) == (200, "degraded")
        assert response.json()["degraded"] == [
            "redis: interactions are not stored, or /retrieve answers with popular products, or both"
        ]
        assert (await system.answer("/similar", product_id="p1"))["source"] == "model"

        redis.start()
        # it keeps nothing over a restart, and says so until histories are loaded again
        answer = await until(lambda: system.get("/readyz"), lambda found: "lost" in found.text)
        assert (answer.status_code, answer.json()["dependencies"]["redis"]) == (200, NOT_LOADED)
        unknown = await system.answer("/retrieve", buyer_id="b", k=5)
        assert unknown["source"] == "popular"
        assert unknown["warnings"] == [f"the buyer's history cannot be read: {NOT_LOADED}"]
        redis.mark_loaded()

        async def stored() -> int:
            return int((await system.post("/encode_buyer", BODY)).json()["stored"])

        await until(stored, lambda count: count == 3)
        found = await system.answer("/retrieve", buyer_id="b")
        check_list(found, reference.best(reference.buyer(HISTORY), 10))
        assert found["warnings"] == []
        assert await readiness(system.client) == (200, "ready")


LOST_PRIMARY = "this Redis is a replica that has lost its primary: it reads and stores nothing"
REPLICA = "this Redis is a replica, which stores nothing: the URL must name the primary, or Sentinel"
NOT_ALLOWED = "Redis' access rules (ACL) do not allow a command or a key that histories need"


async def test_a_redis_that_refuses_to_read_is_not_a_buyer_without_history(tiny: Path, redis: RedisServer) -> None:
    reference = Reference(tiny, "tiny-a")
    raw = Redis(port=redis.port)
    async with stack(tiny, redis) as system:
        assert (await system.post("/encode_buyer", BODY)).json()["stored"] == 3
        # a replica that has lost its primary answers every ZRANGE with MASTERDOWN
        raw.config_set("replica-serve-stale-data", "no")
        raw.execute_command("REPLICAOF", "127.0.0.1", "1")
        for query in ({}, {"exclude_seen": "true"}):
            answer = await system.answer("/retrieve", buyer_id="b", k=5, **query)
            check_list(answer, reference.popular(5))
            assert answer["warnings"] == [f"the buyer's history cannot be read: {LOST_PRIMARY}"]
        refused = await system.get("/retrieve", buyer_id="b", fallback="none")
        assert (refused.status_code, refused.json()["detail"]) == (503, LOST_PRIMARY)
        raw.execute_command("REPLICAOF", "NO", "ONE")
        found = await system.answer("/retrieve", buyer_id="b")
        check_list(found, reference.best(reference.buyer(HISTORY), 10))
    raw.close()


async def test_a_redis_that_refuses_writes_is_degraded(
    tiny: Path, redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    raw = Redis(port=redis.port)

    async def asked(system: Stack) -> tuple[str, str, list[str]]:
        found = (await system.get("/readyz")).json()
        return found["status"], found["dependencies"]["redis"], found["degraded"]

    loss = ["redis: interactions are not stored, or /retrieve answers with popular products, or both"]
    async with stack(tiny, redis) as system:
        assert await asked(system) == ("ready", "ok", [])
        raw.config_set("maxmemory", 1)
        assert await asked(system) == ("degraded", "Redis is full: it stores nothing until it gets more memory", loss)
        assert "used memory" in caplog.text
        raw.config_set("maxmemory", 0)
        raw.execute_command("REPLICAOF", "127.0.0.1", "1")
        assert await asked(system) == ("degraded", REPLICA, loss)
        raw.execute_command("REPLICAOF", "NO", "ONE")
        raw.execute_command("ACL", "SETUSER", "default", "-zrange")
        assert await asked(system) == ("degraded", NOT_ALLOWED, loss)
        raw.execute_command("ACL", "SETUSER", "default", "+zrange")
        assert await asked(system) == ("ready", "ok", [])
    raw.close()


async def test_a_full_redis_refuses_writes_and_reads_go_on(tiny: Path, redis: RedisServer) -> None:
    reference, full = Reference(tiny, "tiny-a"), "Redis is full: it stores nothing until it gets more memory"
    raw = Redis(port=redis.port)
    async with stack(tiny, redis) as system:
        assert (await system.post("/encode_buyer", BODY)).json()["stored"] == 3
        raw.config_set("maxmemory-policy", "noeviction")
        raw.config_set("maxmemory", 1)
        before = sorted(raw.keys())
        refused = await system.post("/interactions", {"buyer_id": "c", **BODY["recent_interactions"][0]})  # type: ignore[dict-item]
        assert (refused.status_code, refused.json()["detail"]) == (503, full)
        assert refused.headers["retry-after"] == "1"
        encoded = (await system.post("/encode_buyer", BODY)).json()
        assert (encoded["stored"], encoded["warnings"]) == (0, [f"nothing was stored: {full}"])
        found = await system.answer("/retrieve", buyer_id="b")
        check_list(found, reference.best(reference.buyer(HISTORY), 10))
        assert (found["source"], found["warnings"]) == ("model", [])
        # no buyer made room for another one
        assert sorted(raw.keys()) == before
        raw.config_set("maxmemory", 0)
        assert (await system.post("/encode_buyer", BODY)).json()["stored"] == 3
    raw.close()


async def test_invented_products_do_not_push_known_ones_out(tiny: Path, redis: RedisServer) -> None:
    reference = Reference(tiny, "tiny-a")
    raw = Redis(port=redis.port)
    async with stack(tiny, redis) as system:
        assert (await system.post("/encode_buyer", BODY)).json()["stored"] == 3
        for part in range(3):
            invented = as_json([event(f"invented-{part}-{number}", "View", -1) for number in range(60)])
            answer = await system.post(
                "/interactions", {"interactions": [{"buyer_id": "b", **row} for row in invented]}
            )
            assert len(answer.json()["unknown_product_ids"]) == 60
        found = await system.answer("/retrieve", buyer_id="b")
        check_list(found, reference.best(reference.buyer(HISTORY), 10))
        assert (found["source"], found["warnings"]) == ("model", [])
        # they are bounded, too
        assert (raw.zcard(key_of("b")), raw.zcard(apart_key_of("b"))) == (3, 50)
    raw.close()


async def test_when_nobody_can_say_which_products_are_known_they_are_kept_apart(tiny: Path, redis: RedisServer) -> None:
    raw = Redis(port=redis.port)
    async with stack(tiny, redis, without=["retrieval"]) as system:
        answer = await system.post("/interactions", {"buyer_id": "b", **BODY["recent_interactions"][0]})  # type: ignore[dict-item]
        assert (answer.status_code, answer.json()["stored"]) == (200, 1)
        assert "kept apart" in answer.json()["warnings"][0]
        assert (raw.zcard(key_of("b")), raw.zcard(apart_key_of("b"))) == (0, 1)
    raw.close()


async def test_redis_absent_from_the_start_and_found_later(tiny: Path) -> None:
    server = RedisServer()
    async with stack(tiny, server) as system:
        assert (await system.answer("/retrieve", buyer_id="b"))["source"] == "popular"
        assert await readiness(system.client) == (200, "degraded")
        with server:
            server.mark_loaded()
            await until(lambda: readiness(system.client), lambda found: found == (200, "ready"))
            assert (await system.post("/encode_buyer", BODY)).json()["stored"] == 3


async def test_a_redis_that_never_answers_costs_a_bounded_wait(tiny: Path) -> None:
    """It accepts connections and says nothing: every wait is finite, and once it is known, nobody waits."""
    silent = await asyncio.start_server(lambda reader, writer: asyncio.sleep(3600), "127.0.0.1", 0)
    server = RedisServer(silent.sockets[0].getsockname()[1])
    async with stack(tiny, server, redis_retry_seconds=3600.0, redis_timeout_seconds=0.05) as system:
        first = await asyncio.gather(*(system.answer("/retrieve", buyer_id=f"b{number}") for number in range(8)))
        assert {one["source"] for one in first} == {"popular"}
        again = await system.answer("/retrieve", buyer_id="b")
        assert again["warnings"] == ["the buyer's history cannot be read: Redis is down"]
    silent.close()


async def test_without_the_index_there_are_no_products(tiny: Path, redis: RedisServer) -> None:
    async with stack(tiny, redis, without=["retrieval"]) as system:
        assert (await system.post("/encode_buyer", BODY)).json()["stored"] == 3
        queries = [
            ("/retrieve", {"buyer_id": "b"}),
            ("/retrieve", {"buyer_id": "nobody"}),
            ("/similar", {"product_id": "p1"}),
            ("/search", {"q": "خاتم"}),
        ]
        for path, query in queries:
            response = await system.get(path, **query)
            assert response.status_code == 503
            assert response.headers["content-type"] == "application/problem+json"
            assert response.headers["retry-after"] == "1"
            assert response.json()["detail"] == "retrieval service cannot be reached"
        assert await readiness(system.client) == (503, "unavailable")
        ReadyAnswer.model_validate((await system.get("/readyz")).json(), strict=True)
        assert (await system.get("/healthz")).status_code == 200


async def test_without_the_buyer_service_known_buyers_get_popular_and_are_told(tiny: Path, redis: RedisServer) -> None:
    async with stack(tiny, redis, without=["buyer"]) as system:
        await system.post("/interactions", {"buyer_id": "b", **as_json(HISTORY)[0]})
        popular = await system.answer("/retrieve", buyer_id="b", k=5)
        check_list(popular, Reference(tiny, "tiny-a").popular(5))
        assert popular["source"] == "popular"
        assert "the buyer's history cannot be encoded" in popular["warnings"][0]
        assert (await system.get("/retrieve", buyer_id="b", fallback="none")).status_code == 503
        assert (await system.post("/encode_buyer", BODY)).status_code == 503
        response = await system.get("/readyz")
        assert (response.status_code, response.json()["status"]) == (200, "degraded")
        assert list(response.json()["dependencies"]) == ["retrieval", "buyer", "item", "redis"]
        assert response.json()["dependencies"]["buyer"] != "ok"


async def test_without_the_item_service_only_search_is_missing(tiny: Path, redis: RedisServer) -> None:
    async with stack(tiny, redis, without=["item"]) as system:
        assert (await system.get("/search", q="خاتم")).status_code == 503
        assert (await system.answer("/similar", product_id="p1"))["source"] == "model"
        assert await readiness(system.client) == (200, "degraded")


async def test_a_service_that_comes_back_is_found_again(tiny: Path, redis: RedisServer) -> None:
    port = free_port()
    async with gateway(redis_url=redis.url, retrieval_address=f"127.0.0.1:{port}") as client:

        async def similar() -> int:
            return (await client.get("/similar", params={"product_id": "p1"})).status_code

        for _ in range(2):
            assert await similar() == 503
            async with running("retrieval", tiny, port=port):
                await until(similar, lambda status: status == 200)


class Fake(retrieval_pb2_grpc.RetrievalServiceServicer):
    """An index that remembers what it is asked, and does what a test wants."""

    def __init__(self) -> None:
        self.metadata: list[dict[str, Any]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.failure: Exception | None = None
        self.address = ""
        self.hits = retrieval_pb2.Hits()
        self._popular = RpcMethod("Popular", self.popular)

    async def Popular(self, request: Any, context: Any) -> Any:
        self.metadata.append(dict(context.invocation_metadata()))
        return await self._popular.unary(request, context)

    async def popular(self, request: Any) -> Any:
        await self.gate.wait()
        if self.failure:
            raise self.failure
        hits = [self.hits for _ in request.queries]
        return retrieval_pb2.PopularResponse(hits=hits, model_version="fake")


@asynccontextmanager
async def faked(redis: RedisServer, **settings: Any) -> AsyncIterator[tuple[Fake, httpx.AsyncClient]]:
    fake, server = Fake(), grpc.aio.server()
    retrieval_pb2_grpc.add_RetrievalServiceServicer_to_server(fake, server)  # type: ignore[no-untyped-call]
    fake.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        async with gateway(redis_url=redis.url, retrieval_address=fake.address, **settings) as client:
            yield fake, client
    finally:
        await server.stop(0)


async def test_the_request_id_travels_to_the_services(redis: RedisServer) -> None:
    async with faked(redis) as (fake, client):
        await client.get("/retrieve", params={"buyer_id": "b"}, headers={"X-Request-ID": "from-the-caller"})
        response = await client.get("/retrieve", params={"buyer_id": "b"})
        assert [one[REQUEST_ID_KEY] for one in fake.metadata] == ["from-the-caller", response.json()["request_id"]]


async def test_a_request_under_way_is_answered_before_the_process_ends(redis: RedisServer) -> None:
    async with faked(redis) as (fake, _):
        fake.gate.clear()
        environ = {"PORT": "0", "REDIS_URL": redis.url, "RETRIEVAL_ADDRESS": fake.address}
        with process(
            "-m", "gateway", environ={f"TWOTOWER_GATEWAY_{name}": value for name, value in environ.items()}
        ) as it:
            line = await asyncio.to_thread(it.wait_for, lambda text: '"listening"' in text)
            async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
                url = f"http://127.0.0.1:{json.loads(line)['port']}/retrieve?buyer_id=b"
                asking = asyncio.create_task(client.get(url))
                await until(lambda: fake.metadata)
                it.popen.send_signal(signal.SIGTERM)
                fake.gate.set()
                assert (await asking).status_code == 200
            assert await asyncio.to_thread(it.finish) == 0


async def test_past_the_deadline_of_a_request_there_is_a_504(redis: RedisServer) -> None:
    async with faked(redis, request_timeout_seconds=0.2) as (fake, client):
        fake.gate.clear()
        response = await client.get("/retrieve", params={"buyer_id": "b"})
        assert response.status_code == 504
        assert "did not answer in time" in response.json()["detail"]


async def test_past_the_queue_requests_are_refused_with_retry_after(redis: RedisServer) -> None:
    settings = {"max_waiting": 4, "batches_in_flight": 1, "max_batch": 1, "request_timeout_seconds": 60.0}
    async with faked(redis, **settings) as (fake, client):
        fake.gate.clear()
        under_way = asyncio.create_task(client.get("/retrieve", params={"buyer_id": "b"}))
        await until(lambda: fake.metadata)
        asking = {asyncio.create_task(client.get("/retrieve", params={"buyer_id": f"b{row}"})) for row in range(11)}
        await until(lambda: sum(one.done() for one in asking) == 7)
        refused = [one.result() for one in asking if one.done()]
        assert {(one.status_code, one.headers["retry-after"]) for one in refused} == {(503, "1")}
        # by the queue of Redis reads or by that of the index, whichever was full
        assert all("4 calls are waiting for" in one.json()["detail"] for one in refused)
        fake.gate.set()
        statuses = [one.status_code for one in await asyncio.gather(under_way, *asking)]
        assert sorted(statuses) == [200] * 5 + [503] * 7


PART = (
    b'POST /interactions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"buyer'
)


async def test_a_body_that_does_not_come_is_waited_for_so_long_and_no_longer(redis: RedisServer) -> None:
    async with faked(redis, body_timeout_seconds=0.2) as (_, client):
        reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
        writer.write(PART)
        # the end of the answer is the end of the connection: what is still to come of the body is nobody's
        head, _, body = (await asyncio.wait_for(reader.read(), 60)).partition(b"\r\n\r\n")
        writer.close()
    assert head.startswith(b"HTTP/1.1 408") and b"application/problem+json" in head
    document = json.loads(body)
    assert (document["status"], document["type"]) == (408, "urn:twotower:body-too-slow")
    assert (document["field"], document["detail"]) == ("body", "the body did not arrive within 0.2 s")


async def test_a_caller_who_hangs_up_in_mid_upload_is_no_failure_of_ours(
    redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with faked(redis) as (_, client):

        async def count(status: int) -> float:
            name = f'twotower_http_seconds_count{{route="/interactions",status="{status}"}} '
            lines = (await client.get("/metrics")).text.splitlines()
            return next((float(line.removeprefix(name)) for line in lines if line.startswith(name)), 0.0)

        given_up, failed = await count(499), await count(500)
        _, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
        writer.write(PART)
        await writer.drain()
        writer.close()
        await until(lambda: count(499), lambda found: found == given_up + 1, seconds=10)
        assert await count(500) == failed
    assert not [one for one in caplog.records if one.levelname == "ERROR"]


async def test_a_fault_of_the_gateway_is_a_500_without_stack_trace(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(*_: object) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(product_lists, "similar", fail)
    async with faked(redis) as (_, client):
        response = await client.get("/similar", params={"product_id": "p1"}, headers={"X-Request-ID": "abc"})
        assert (response.status_code, response.headers["content-type"]) == (500, "application/problem+json")
        assert response.json()["request_id"] == response.headers["x-request-id"] == "abc"
        assert "secret" not in response.text and "Traceback" not in response.text
        assert "secret detail" in caplog.text


async def test_a_fault_of_a_service_is_a_503_without_stack_trace(redis: RedisServer) -> None:
    async with faked(redis) as (fake, client):
        fake.failure = ZeroDivisionError("secret detail")
        response = await client.get("/retrieve", params={"buyer_id": "b"})
        assert response.status_code == 503
        assert "secret" not in response.text
        assert response.json()["detail"] == "retrieval service failed"
