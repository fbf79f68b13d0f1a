"""/again and /trending through the API, with real services and a real Redis; the catalogue changes meanwhile."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import numpy as np
import orjson
import pytest
import pytest_asyncio
from redis import Redis

from gateway import live_trending
from tests.helpers.lists import write_lists
from tests.helpers.redis_server import RedisServer
from tests.helpers.services import running, until
from tests.helpers.stack import Stack, gateway, stack
from tests.helpers.tiny_version import build_version
from twotower.artifact.lists import Counted
from twotower.event_log import KINDS, STREAM
from twotower.trending import TRENDING_KEY, Rising, pack_table

pytestmark = pytest.mark.asyncio(loop_scope="module")

DAY = 86_400_000


@pytest.fixture(autouse=True)
def no_keeping(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each list reads the recorder's table again."""
    monkeypatch.setattr(live_trending, "_FRESH_SECONDS", 0.0)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    artifacts = tmp_path_factory.mktemp("lists")
    build_version(artifacts, "lists", lists=lambda files: write_lists(files, returns={1: 0.05}))
    server.mark_loaded()
    async with AsyncExitStack() as exits:
        followed = {"catalogue_url": server.url}
        services = {
            name: await exits.enter_async_context(running(name, artifacts, **({} if name == "item" else followed)))
            for name in ("item", "buyer", "retrieval")
        }
        addresses = {f"{name}_address": one.address for name, one in services.items()}
        client = await exits.enter_async_context(
            gateway(redis_url=server.url, event_log=True, live_catalogue=True, **addresses)
        )
        yield Stack(client, server, artifacts)


@pytest.fixture
def redis(server: RedisServer) -> Any:
    client = Redis(port=server.port)
    client.delete(STREAM, TRENDING_KEY)
    yield client
    client.close()


async def buy(system: Stack, buyer: str, product: str, *days_ago: float, event: str = "Purchase") -> None:
    now = int(time.time() * 1000)
    rows = [
        {"buyer_id": buyer, "product_id": product, "event_type": event, "timestamp": now - round(ago * DAY)}
        for ago in days_ago
    ]
    answer = await system.post("/interactions", {"interactions": rows})
    assert answer.status_code == 200, answer.text


async def logged_lists(redis: Any) -> list[Any]:
    def read() -> list[Any]:
        entries = [fields[b"lists"] for _, fields in redis.xrange(STREAM) if b"lists" in fields]
        return [KINDS["lists"](*row) for value in entries for row in orjson.loads(value)]

    return await until(read, bool)


async def test_again_lists_what_is_bought_regularly_with_facts_and_sentences(system: Stack, redis: Any) -> None:
    await buy(system, "coffee", "p0", 21, 14, 7)
    await buy(system, "coffee", "p4", 60)
    await buy(system, "coffee", "p8", 1, event="View")
    answer = await system.answer("/again", buyer_id="coffee", include=["reasons", "products"], slot="home")
    assert (answer["product_ids"], answer["source"]) == (["p0", "p4"], "again")
    assert 1 > answer["scores"][0] > answer["scores"][1] > 0
    assert [one["product_id"] for one in answer["products"]] == ["p0", "p4"]
    first, second = answer["reasons"]
    # two intervals of 7 days beside two of the product's 10; seven days have passed
    due = first["due"]
    assert (due["times"], due["usual_days"], due["due_in_days"]) == (3, 8.4, 1.4)
    assert due["usual_days_low"] < 8.4 < due["usual_days_high"]
    assert time.time() - 7 * 86_400 == pytest.approx(as_seconds(due["last_bought"]), abs=60)
    assert first["sentence"] == {
        "ar": "اشتريته 3 مرات، كل 8 أيام تقريبًا، وآخرها قبل 7 أيام",
        "en": "You bought it 3 times, about every 8 days, last 7 days ago",
    }
    assert second["sentence"]["en"] == "You bought it once, 60 days ago; it is usually bought again every 10 days"
    (record,) = await logged_lists(redis)
    assert (record.route, record.slot, record.buyer_id, record.source) == ("/again", "home", "coffee", "again")
    assert record.product_ids == "p0\np4"


def as_seconds(text: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(text).timestamp()


async def test_again_without_repeats_is_empty_and_says_why(system: Stack) -> None:
    nothing = await system.answer("/again", buyer_id="nobody")
    assert (nothing["product_ids"], nothing["source"]) == ([], "again")
    assert nothing["warnings"] == ["the buyer's stored history holds no purchase"]
    await buy(system, "once", "p1", 40)
    once = await system.answer("/again", buyer_id="once", include="reasons")
    assert (once["product_ids"], once["reasons"]) == ([], [])
    assert once["warnings"] == [
        "the buyer has bought nothing twice, and few buyers come back to the products that were bought once"
    ]


async def test_again_honours_filters_dismissals_and_deleted_products(system: Stack) -> None:
    for row in (0, 4, 6, 12):
        await buy(system, "home", f"p{row}", 30 + row, 20 + row)
    everything = {"p0", "p4", "p6", "p12"}
    assert set((await system.answer("/again", buyer_id="home"))["product_ids"]) == everything
    # p6 is out of stock
    assert set((await system.answer("/again", buyer_id="home", in_stock="true"))["product_ids"]) == everything - {"p6"}
    diverse = await system.answer("/again", buyer_id="home", diversity=0.5, brand="nobody")
    assert diverse["warnings"] == ["diversity has no effect on this list", "no product has brand=nobody"]
    await system.post(
        "/interactions",
        {"buyer_id": "home", "product_id": "p4", "event_type": "Dismiss", "timestamp": int(time.time() * 1000)},
    )
    assert (await system.client.delete("/products/p12")).status_code == 200
    await until(
        lambda: system.answer("/again", buyer_id="home"), lambda answer: set(answer["product_ids"]) == {"p0", "p6"}
    )


async def test_a_product_with_new_content_keeps_its_place_in_both_lists(system: Stack) -> None:
    await buy(system, "tea", "p16", 20, 10)
    changed = await system.client.patch("/products/p16", json={"title": "شاي أخضر", "category": "شاي"})
    assert changed.status_code == 200, changed.text
    found = await until(
        lambda: system.answer("/again", buyer_id="tea", category="شاي"), lambda answer: bool(answer["product_ids"])
    )
    assert found["product_ids"] == ["p16"]


async def test_again_for_a_guest_and_without_anybody(system: Stack) -> None:
    now = int(time.time() * 1000)
    rows = [
        {"session_id": "visit", "product_id": "p20", "event_type": "Purchase", "timestamp": now - ago * DAY}
        for ago in (20, 10)
    ]
    assert (await system.post("/interactions", {"interactions": rows})).status_code == 200
    assert (await system.answer("/again", session_id="visit"))["product_ids"] == ["p20"]
    assert (await system.get("/again")).status_code == 422


async def test_trending_is_the_training_s_until_the_recorder_has_counted(system: Stack, redis: Any) -> None:
    trained = await system.answer("/trending", include=["reasons", "products"])
    assert (trained["product_ids"], trained["source"]) == (["p5", "p2", "p9"], "trending")
    assert trained["warnings"] == ["counted by the training: the recorder has not counted the live log yet"]
    assert trained["counted"] == {"until": "2025-10-09T08:53:20+00:00", "window_days": 7.0, "past_windows": 8}
    assert trained["reasons"][0]["rise"] == {"buyers": 40, "expected": 10.0, "window_days": 7.0}
    assert trained["reasons"][0]["sentence"] == {
        "ar": "الإقبال عليه يزداد: 40 متسوقًا خلال 7 أيام، والمعتاد 10",
        "en": "More shoppers than usual: 40 in 7 days, usually 10",
    }
    assert len(trained["products"]) == 3
    now = int(time.time() * 1000)
    redis.set(TRENDING_KEY, table_of({"p3": 4.0, "gone": 3.0, "p7": 2.0}, now))
    live = await system.answer("/trending", include="reasons")
    assert (live["product_ids"], live["warnings"]) == (["p3", "p7"], [])
    assert live["reasons"][1]["rise"] == {"buyers": 20, "expected": 2.5, "window_days": 1.0}
    assert "24 hours" in live["reasons"][1]["sentence"]["en"]
    perfume = await system.answer("/trending", category="تمور", slot="email", session_id="visit")
    assert perfume["product_ids"] == ["p3", "p7"]
    lists = await until(lambda: logged_lists(redis), lambda found: len(found) == 3)
    assert [(one.route, one.slot, one.session_id) for one in lists][-1] == ("/trending", "email", "visit")


async def test_a_table_that_is_old_or_damaged_says_so(system: Stack, redis: Any) -> None:
    redis.set(TRENDING_KEY, table_of({"p3": 4.0}, int(time.time() * 1000) - 3 * DAY))
    old = await system.answer("/trending")
    assert old["product_ids"][0] == "p5"
    assert old["warnings"] == ["counted by the training: the recorder counted last 3.0 days ago"]
    redis.set(TRENDING_KEY, b"{")
    damaged = await system.answer("/trending")
    assert damaged["product_ids"][0] == "p5"
    assert damaged["warnings"] == ["counted by the training: the live log's counts cannot be read"]


async def test_without_redis_again_fails_and_trending_is_the_training_s(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    artifacts = tmp_path_factory.mktemp("down")
    build_version(artifacts, "down", lists=write_lists)
    async with stack(artifacts, RedisServer(), event_log=True) as down:
        assert (await down.get("/again", buyer_id="b0")).status_code == 503
        answer = await down.answer("/trending")
        assert answer["product_ids"] == ["p5", "p2", "p9"]
        assert answer["warnings"][0].startswith("counted by the training: the live log's counts cannot be read: ")


def table_of(scores: dict[str, float], until_ms: int) -> bytes:
    count = len(scores)
    found = Rising(
        np.arange(count),
        np.array(list(scores.values()), np.float32),
        np.full(count, 20, np.float32),
        np.full(count, 2.5, np.float32),
    )
    return pack_table(list(scores), found, Counted(until_ms=until_ms, window_days=1.0, past_windows=28))
