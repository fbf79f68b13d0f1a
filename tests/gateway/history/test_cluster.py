"""Redis as companies run it: a cluster of nodes, and a primary that Sentinel names."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from limits import parse
from redis import Redis
from redis.crc import key_slot

from gateway import warm
from gateway.auth.keys import Key, KeyEntry, NewKey, add_key
from gateway.auth.limiter import connect_limiter
from gateway.history.breaker import Breaker
from gateway.history.clock import SharedClock
from gateway.history.codec import (
    APART_PREFIX,
    KEY_PREFIX,
    LOADED,
    LOADING,
    Addition,
    apart_key_of,
    key_of,
    written_key_of,
)
from gateway.history.connect import connect_redis
from gateway.history.expiry import expire, observe_clock
from gateway.history.redis_client import RedisClient
from gateway.history.redis_history import RedisHistory
from gateway.settings import GatewaySettings
from tests.helpers.histories import unpack_history
from tests.helpers.redis_cluster import Sentinels, running_cluster, running_sentinel, wait_until
from tests.helpers.redis_server import RIGHTS, RedisServer
from tests.helpers.stack import stack
from tests.helpers.tiny_version import build_version
from twotower.errors import Unavailable
from twotower.events import Interaction

BUYERS = ["b", "مشترٍ", "{a}", "}{", "a{b}c", "{}x", *(f"buyer-{number}" for number in range(120))]
VIEW = [Interaction("p1", "View", 1)]
LATER = [Interaction("p2", "View", 2)]
ROW = {"product_id": "p1", "event_type": "View", "timestamp": "2025-10-09T08:00:00Z"}


@pytest.fixture(scope="module")
def nodes() -> Iterator[list[RedisServer]]:
    with running_cluster() as servers:
        yield servers


@pytest.fixture(scope="module")
def sentinels() -> Iterator[Sentinels]:
    with running_sentinel() as running:
        yield running


@pytest.fixture
def clients(nodes: list[RedisServer]) -> Iterator[list[Any]]:
    """A client of each node; all are emptied first."""
    opened = [Redis(port=server.port) for server in nodes]
    for client in opened:
        client.flushall()
    yield opened
    for client in opened:
        client.close()


def url_of(nodes: Sequence[RedisServer]) -> str:
    return "redis+cluster://" + ",".join(f"127.0.0.1:{server.port}" for server in nodes)


def connect(url: str, clock: SharedClock | None = None, **settings: Any) -> RedisHistory:
    values = GatewaySettings(redis_url=url, **settings)
    return RedisHistory(RedisClient(connect_redis(values), Breaker("Redis", 0.05)), 50, clock or SharedClock())


async def read(history: RedisHistory, buyers: Sequence[str]) -> list[list[Interaction]]:
    return [unpack_history(str(one)) for one in await history.read(buyers)]


def all_keys(clients: Sequence[Any]) -> list[str]:
    return sorted(key.decode() for client in clients for key in client.keys("*"))


@pytest.mark.parametrize("buyer", BUYERS[:8])
def test_the_keys_of_a_buyer_share_a_slot(buyer: str) -> None:
    slots = {key_slot(key(buyer).encode()) for key in (key_of, apart_key_of, written_key_of)}
    assert len(slots) == 1
    assert key_slot(LOADED.encode()) == key_slot(LOADING.encode())


async def test_histories_live_on_all_nodes(nodes: list[RedisServer], clients: list[Any]) -> None:
    # one known node is enough
    history = connect(url_of(nodes[1:2]))
    apart = [Interaction("new", "View", 3)]
    added = await history.add([Addition(buyer, VIEW, apart) for buyer in BUYERS])
    assert added == [2] * len(BUYERS)
    assert await read(history, [*BUYERS, "nobody"]) == [[*VIEW, *apart]] * len(BUYERS) + [[]]
    placed = [len(client.keys(f"{KEY_PREFIX}*")) for client in clients]
    assert sum(placed) == len(BUYERS) and min(placed) > 20
    assert await history.add([Addition(buyer, LATER) for buyer in BUYERS], replace=True) == [1] * len(BUYERS)
    assert await read(history, BUYERS) == [LATER] * len(BUYERS)
    assert await history.remove([*BUYERS, "nobody"]) == len(BUYERS)
    assert all_keys(clients) == []
    await history.close()


async def test_a_node_is_asked_once_for_all_its_buyers(nodes: list[RedisServer], clients: list[Any]) -> None:
    history = connect(url_of(nodes))
    await history.add([Addition(buyer, VIEW) for buyer in BUYERS])
    for client in clients:
        client.config_resetstat()
    await history.read(BUYERS)
    calls = [client.info("commandstats")["cmdstat_zrange"]["calls"] for client in clients]
    assert sum(calls) == 3 * len(BUYERS)
    await history.close()


async def test_histories_expire_on_all_nodes(nodes: list[RedisServer], clients: list[Any]) -> None:
    start, steady = 1_800_000_000.0, [0.0]
    clock = SharedClock(lambda: steady[0], lambda: start + steady[0])
    history = connect(url_of(nodes), clock)
    await history.add([Addition(buyer, VIEW, LATER) for buyer in BUYERS])
    steady[0] += 89 * 86_400
    await history.add([Addition("b", VIEW)])
    assert await expire(history.redis, history.clock, 90.0) == 0
    steady[0] += 2 * 86_400
    assert await expire(history.redis, history.clock, 90.0) == len(BUYERS) - 1
    assert all_keys(clients) == sorted([key_of("b"), apart_key_of("b"), written_key_of("b")])
    await history.close()


async def test_a_cluster_is_ready_if_each_node_writes(nodes: list[RedisServer], clients: list[Any]) -> None:
    history = connect(url_of(nodes))
    with pytest.raises(Unavailable, match="holds no loaded histories"):
        await history.ping()
    for client, server in zip(clients, nodes, strict=True):
        if key_slot(LOADED.encode()) in range(*(16_384 * side // 3 for side in _sides(nodes, server))):
            client.set(LOADED, "{}")
    await history.ping()
    probed = [[key for key in client.keys("*") if key.endswith(b"\0ready")] for client in clients]
    assert [len(keys) for keys in probed] == [1, 1, 1]
    clients[2].config_set("maxmemory", 1)
    try:
        with pytest.raises(Unavailable, match="Redis is full"):
            await history.ping()
    finally:
        clients[2].config_set("maxmemory", 0)
    await history.ping()
    await observe_clock(history.redis, history.clock)
    await history.close()


def _sides(nodes: Sequence[RedisServer], server: RedisServer) -> tuple[int, int]:
    place = nodes.index(server)
    return place, place + 1


async def test_a_slot_that_moves_is_followed(nodes: list[RedisServer], clients: list[Any]) -> None:
    """ASK while one key is on its way, MOVED when the slot has gone; for reads, transactions and scripts."""
    history, buyer = connect(url_of(nodes)), "buyer-7"
    assert await history.add([Addition(buyer, VIEW)]) == [1]
    slot = key_slot(key_of(buyer).encode())
    source = next(place for place in range(3) if slot < 16_384 * (place + 1) // 3)
    target = (source + 1) % 3
    names = [client.execute_command("CLUSTER MYID").decode() for client in clients]
    try:
        clients[target].execute_command("CLUSTER SETSLOT", slot, "IMPORTING", names[source])
        clients[source].execute_command("CLUSTER SETSLOT", slot, "MIGRATING", names[target])
        keys = clients[source].execute_command("CLUSTER GETKEYSINSLOT", slot, 100)
        port = nodes[target].port
        clients[source].execute_command("MIGRATE", "127.0.0.1", port, "", 0, 5000, "KEYS", *keys)
        assert await read(history, [buyer]) == [VIEW]
        assert await history.add([Addition(buyer, LATER), Addition("b", VIEW)]) == [1, 1]
        assert await read(history, [buyer, "b"]) == [[*VIEW, *LATER], VIEW]
        for place in (target, source, (source + 2) % 3):
            clients[place].execute_command("CLUSTER SETSLOT", slot, "NODE", names[target])
        assert await read(history, [buyer]) == [[*VIEW, *LATER]]
        assert await history.add([Addition(buyer, VIEW)]) == [1]
        assert await history.remove([buyer]) == 1
    finally:
        await history.close()
        for client in clients:
            client.execute_command("CLUSTER SETSLOT", slot, "NODE", names[source])


async def test_a_lost_node_fails_its_own_buyers_alone(caplog: pytest.LogCaptureFixture) -> None:
    with running_cluster(options=("--cluster-require-full-coverage", "no")) as servers:
        history = connect(url_of(servers), redis_retry_seconds=3600)
        await history.add([Addition(buyer, VIEW) for buyer in BUYERS])
        servers[1].kill()
        lost = [5461 <= key_slot(key_of(buyer).encode()) < 10922 for buyer in BUYERS]
        assert 20 < sum(lost) < 100
        for _ in range(2):
            found = await history.read(BUYERS)
            assert [isinstance(one, Unavailable) for one in found] == lost
            added = await history.add([Addition(buyer, LATER) for buyer in BUYERS])
            assert [isinstance(one, Unavailable) for one in added] == lost
        assert str(found[lost.index(True)]) in (
            "Redis does not answer",
            f"Redis node 127.0.0.1:{servers[1].port} is down",
        )
        with pytest.raises(Unavailable):
            await history.ping()
        # nothing is left: the whole call says so
        servers[0].kill()
        servers[2].kill()
        with pytest.raises(Unavailable):
            await history.read(BUYERS)
        await history.close()


def test_warm_loads_all_nodes(tmp_path: Path, nodes: list[RedisServer], clients: list[Any]) -> None:
    build_version(tmp_path, "a", buyers=60)
    early = connect(url_of(nodes))

    async def keep_apart() -> None:
        await early.add([Addition(f"v{number}", [], VIEW) for number in range(40)])
        await early.close()

    asyncio.run(keep_apart())
    command = ["--artifacts", str(tmp_path), "--redis", url_of(nodes)]
    assert warm.main(command) == 0
    assert [len(client.keys(f"{APART_PREFIX}*")) for client in clients] == [0, 0, 0]
    kept = [len(client.keys(f"{KEY_PREFIX}*")) for client in clients]
    assert sum(kept) == 100 and min(kept) > 15
    marks = [client.get(LOADED) for client in clients if key_owned(client, LOADED)]
    assert [json.loads(mark)["version"] for mark in marks] == ["a"]
    assert warm.main([*command, "--replace"]) == 0


def key_owned(client: Any, key: str) -> bool:
    return client.keys(key) == [key.encode()]


async def test_the_gateway_serves_from_a_cluster(
    tiny: Path, tmp_path: Path, nodes: list[RedisServer], clients: list[Any]
) -> None:
    """Histories of every node, rate limits, readiness, and a buyer who is forgotten."""
    url, keys = url_of(nodes), tmp_path / "keys.json"
    assert await asyncio.to_thread(warm.main, ["--artifacts", str(tiny), "--redis", url]) == 0
    key = add_key(keys, NewKey("shop", ("read", "write", "admin"), "40/minute", None))
    forgotten = tmp_path / "forgotten"
    async with stack(
        tiny, RedisServer(), redis_url=url, keys_file=keys, forgotten_file=forgotten, without=("item",)
    ) as system:
        system.client.headers["X-API-Key"] = key
        buyers = BUYERS[:30]
        rows = [{"buyer_id": buyer, **ROW} for buyer in buyers]
        stored = await system.post("/interactions", {"interactions": rows})
        assert (stored.status_code, stored.json()["stored"]) == (200, 30), stored.text
        assert stored.headers["ratelimit"].startswith('"key";r=39;')
        for buyer in buyers:
            assert (await system.answer("/retrieve", buyer_id=buyer))["source"] == "model"
        ready = (await system.get("/readyz")).json()
        assert ready["dependencies"]["redis"] == "ok"
        gone = await system.client.delete("/buyers/b")
        assert gone.json()["removed"] is True
        for _ in range(9):
            last = await system.get("/retrieve", buyer_id="b")
        assert last.status_code == 429
    assert [key for key in all_keys(clients) if key.startswith("twotower:limits:1:")]


async def test_a_user_with_the_documented_rights_is_enough(nodes: list[RedisServer], clients: list[Any]) -> None:
    for client in clients:
        client.execute_command(
            "ACL", "SETUSER", "shop", "reset", "on", ">x", *RIGHTS.split(), "+cluster|slots", "+command", "+asking"
        )
    url = url_of(nodes).replace("://", "://shop:x@")
    history = connect(url)
    assert await history.add([Addition(buyer, VIEW, LATER) for buyer in BUYERS]) == [2] * len(BUYERS)
    with pytest.raises(Unavailable, match="holds no loaded histories"):
        await history.ping()
    assert len([key async for keys in history.redis.scan(f"{APART_PREFIX}*") for key in keys]) == len(BUYERS)
    assert await expire(history.redis, history.clock, 90.0) == 0
    assert await history.remove(BUYERS) == len(BUYERS)
    await history.close()
    limiter, close = connect_limiter(GatewaySettings(redis_url=url))
    entry = KeyEntry(
        id="0" * 12, name="n", sha256="0" * 64, scopes=("read",), limit="2/minute", created_at=datetime.now(UTC)
    )
    key = Key(entry, parse("2/minute"), None)
    assert key.limit is not None
    assert [(await limiter.take(key, key.limit)).granted for _ in range(3)] == [True, True, False]
    await close()
    assert [name for name in all_keys(clients) if name.startswith("twotower:limits:1:")]


async def test_a_plain_url_of_a_cluster_is_told_in_words(
    tiny: Path, nodes: list[RedisServer], clients: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    words = "Redis is a cluster: TWOTOWER_GATEWAY_REDIS_URL must begin with redis+cluster:// (rediss+cluster://)"
    async with stack(tiny, RedisServer(), redis_url=nodes[0].url, without=("item", "buyer")) as system:
        ready = (await system.get("/readyz")).json()
        assert ready["dependencies"]["redis"] == words
        rows = [{"buyer_id": buyer, **ROW} for buyer in BUYERS]
        refused = await system.post("/interactions", {"interactions": rows})
        assert (refused.status_code, refused.json()["detail"]) == (503, words)
    assert words in caplog.text


async def test_a_cluster_url_of_a_plain_redis_is_told_in_words(caplog: pytest.LogCaptureFixture) -> None:
    with RedisServer() as server:
        history = connect(url_of([server]))
        with pytest.raises(Unavailable, match="Redis does not answer"):
            await history.read(["b"])
        assert "Cluster mode is not enabled on this node" in caplog.text
        await history.close()


async def test_sentinel_names_the_primary_before_and_after_a_failover(sentinels: Sentinels) -> None:
    history = connect(sentinels.url)
    await history.add([Addition("b", VIEW)])
    with Redis(port=sentinels.primary.port) as first, Redis(port=sentinels.replica.port) as second:
        assert first.zcard(key_of("b")) == 1
        wait_until(lambda: second.zcard(key_of("b")) == 1)
        sentinels.sentinel.execute_command("SENTINEL FAILOVER", "mymaster")
        wait_until(lambda: second.info("replication")["role"] == "master")
        # as the sentinel does, within ten seconds
        first.replicaof("127.0.0.1", sentinels.replica.port)
        # the old primary answers still, and refuses to write: the connection to it is left
        await until_stored(history, Addition("b", LATER))
        assert second.zcard(key_of("b")) == 2
        assert await read(history, ["b"]) == [[*VIEW, *LATER]]
    await history.close()


async def until_stored(history: RedisHistory, addition: Addition) -> None:
    for _ in range(200):
        try:
            if await history.add([addition]) == [1]:
                return
        except Unavailable:
            pass
        await asyncio.sleep(0.05)
    raise AssertionError("nothing was stored within 10 s")


async def test_the_gateway_serves_from_the_primary_that_sentinel_names(
    tiny: Path, tmp_path: Path, sentinels: Sentinels
) -> None:
    keys = tmp_path / "keys.json"
    key = add_key(keys, NewKey("shop", ("read", "write"), "100/minute", None))
    assert await asyncio.to_thread(warm.main, ["--artifacts", str(tiny), "--redis", sentinels.url]) == 0
    async with stack(
        tiny, RedisServer(), redis_url=sentinels.url, keys_file=keys, without=("item",), redis_connections=1
    ) as system:
        system.client.headers["X-API-Key"] = key
        rows = [{"buyer_id": f"s{number}", **ROW} for number in range(5)]
        assert (await system.post("/interactions", {"interactions": rows})).json()["stored"] == 5
        # more at once than there are connections
        found = await asyncio.gather(*(system.answer("/retrieve", buyer_id=f"s{number % 5}") for number in range(40)))
        assert {one["source"] for one in found} == {"model"}
        assert (await system.get("/readyz")).json()["dependencies"]["redis"] == "ok"


async def test_a_primary_that_no_sentinel_knows(sentinels: Sentinels, caplog: pytest.LogCaptureFixture) -> None:
    history = connect(sentinels.url.replace("mymaster", "theirs"))
    with pytest.raises(Unavailable, match="Redis does not answer"):
        await history.read(["b"])
    assert "No master found for 'theirs'" in caplog.text
    await history.close()
