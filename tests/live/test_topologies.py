"""The live catalogue and the recorder where Redis is a cluster, or a primary that Sentinel names."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from recorder.catalogue import CatalogueCopy
from recorder.drain import Recorder
from recorder.files import LogFolder
from recorder.settings import RecorderSettings
from recorder.source import connect_redis
from retrieval_service.settings import RetrievalSettings
from tests.helpers.event_log import rows
from tests.helpers.redis_cluster import running_cluster, running_sentinel, wait_until
from tests.helpers.redis_server import RedisServer
from tests.helpers.services import running, until
from tests.helpers.stack import Stack, stack
from twotower.errors import SettingsError
from twotower.live.records import HEAD, PREFIX, REPLICAS
from twotower.live.snapshot import read_snapshot, snapshot_file
from twotower.serving.settings import read_settings

pytestmark = pytest.mark.asyncio

EVENT = {"buyer_id": "b", "product_id": "p1", "event_type": "View", "timestamp": "2025-01-01T12:00:00Z"}


@asynccontextmanager
async def _shop(tiny: Path, url: str) -> AsyncIterator[Stack]:
    async with running("retrieval", tiny, catalogue_url=url) as retrieval:
        settings = {"redis_url": url, "retrieval_address": retrieval.address, "redis_retry_seconds": 0.05}
        async with stack(
            tiny, RedisServer(), without=("retrieval",), live_catalogue=True, **settings, event_log=True
        ) as one:
            yield one


async def _listed(shop: Stack) -> list[str]:
    return list((await shop.answer("/popular", k=200))["product_ids"])


async def _accepted(send: Callable[[], Any]) -> None:
    """Sends the same again until it is accepted."""
    await until(send, lambda answer: answer.status_code == 200)


async def _change_and_see(shop: Stack, product: str) -> None:
    """A new product shows, a deleted one does not."""

    # after a failover the old primary refuses at first
    await _accepted(lambda: shop.client.put(f"/products/{product}", json={"title": f"خلخال {product}", "price": 5.0}))
    await until(lambda: _listed(shop), lambda found: product in found)
    await _accepted(lambda: shop.client.delete(f"/products/{product}"))
    await until(lambda: _listed(shop), lambda found: product not in found)


def _record(url: str, artifacts: Path) -> list[str]:
    """Copies the catalogue, drains the log, and returns its event ids."""
    settings = RecorderSettings(artifacts=artifacts, redis_url=url, flush_seconds=0.001)
    source, folder = connect_redis(url, 5.0), LogFolder(settings.layout.log)
    recorder = Recorder(source, folder, settings, catalogue=CatalogueCopy(source.connected, folder.root))
    with folder.held():
        for _ in range(3):
            recorder.step()
    assert source.waiting() == 0
    # a request that was sent again is logged again, under its id
    return list(dict.fromkeys(row["event_id"] for row in rows(settings.layout.log, "interactions")))


async def test_a_cluster(tiny: Path, tmp_path: Path) -> None:
    with running_cluster() as nodes:
        url = "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in nodes[1:])
        async with _shop(tiny, url) as shop:
            await _change_and_see(shop, "n1")
            await _accepted(lambda: shop.post("/interactions", {**EVENT, "event_id": "e1"}))

            async def ready() -> tuple[str, str]:
                found = (await shop.get("/readyz")).json()["dependencies"]
                return found["live catalogue"], found["event log"]

            await until(ready, lambda found: found == ("ok", "ok"))
            held = [len(Redis(port=node.port).keys(f"{PREFIX}*")) for node in nodes]
            # one tag, one node
            assert sorted(held)[:2] == [0, 0] and max(held) >= 3
        assert _record(url, tmp_path) == ["e1"]
    copied = read_snapshot(snapshot_file(tmp_path / "private" / "log"))
    assert [one.is_deleted for one in copied.states if one.product_id == "n1"] == [True]


async def test_sentinel_before_and_after_a_failover(tiny: Path, tmp_path: Path) -> None:
    with running_sentinel() as sentinels:
        async with _shop(tiny, sentinels.url) as shop:
            await _change_and_see(shop, "n1")
            await _accepted(lambda: shop.post("/interactions", {**EVENT, "event_id": "before"}))
            assert _record(sentinels.url, tmp_path) == ["before"]
            with Redis(port=sentinels.primary.port) as first, Redis(port=sentinels.replica.port) as second:
                wait_until(lambda: second.hget(HEAD, "sequence") == first.hget(HEAD, "sequence"))
                sentinels.sentinel.execute_command("SENTINEL FAILOVER", "mymaster")
                wait_until(lambda: second.info("replication")["role"] == "master")
                # as the sentinel does, within ten seconds
                first.replicaof("127.0.0.1", sentinels.replica.port)
                await _change_and_see(shop, "n2")
                assert "n1" not in await _listed(shop)
                await _accepted(lambda: shop.post("/interactions", {**EVENT, "event_id": "after"}))
                assert second.hlen(REPLICAS)
            assert _record(sentinels.url, tmp_path) == ["before", "after"]
    states = read_snapshot(snapshot_file(tmp_path / "private" / "log")).states
    assert {one.product_id: one.is_deleted for one in states} == {"n1": True, "n2": True}


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("redis+sentinel://127.0.0.1:26379", "the path must name the primary"),
        ("redis+sentinel://127.0.0.1:26379/mymaster/zero", "is not /PRIMARY or /PRIMARY/DATABASE"),
        ("redis+cluster://127.0.0.1/3", "a Redis cluster has the database 0 alone"),
        ("redis+cluster://127.0.0.1,", "is not a host:port"),
        ("redis://shop:a/b@127.0.0.1", "must be percent-encoded"),
        ("redis://127.0.0.1/0?sockt_timeout=1", "sockt_timeout"),
        ("redis+sentinel://127.0.0.1/mymaster?sockt_timeout=1", "sockt_timeout"),
    ],
)
async def test_a_url_that_cannot_be_used_ends_the_start(url: str, problem: str) -> None:
    with pytest.raises(SettingsError, match=problem):
        read_settings(RetrievalSettings, "retrieval", {"TWOTOWER_RETRIEVAL_CATALOGUE_URL": url})
    with pytest.raises(SettingsError, match=problem):
        read_settings(RecorderSettings, "recorder", {"TWOTOWER_RECORDER_REDIS_URL": url})
