"""What /metrics counts of requests, batches, interactions and drift, on real services and a real Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from gateway.history.keeper import show_memory
from tests.helpers.redis_server import RedisServer
from tests.helpers.services import until
from tests.helpers.stack import Stack, as_json, event, stack
from tests.helpers.tiny_version import NOON, build_version
from twotower.artifact.manifest import Bins

# lengths up to 2, up to 3, and above
LENGTHS = Bins(edges=[2.0, 3.0], shares=[0.5, 0.25, 0.25])


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One version, whose training had best scores above and below 0.5."""
    folder = tmp_path_factory.mktemp("drift") / "artifacts"
    scores = Bins(edges=[-0.5, 0.5], shares=[0.1, 0.6, 0.3])
    tested = {"model": {"recall@10": 0.25, "ndcg@10": 0.125, "coverage@10": 0.75, "cases": 90.0}}
    drift = {"history_length": LENGTHS, "best_score": scores}
    build_version(folder, "drift-a", drift=drift, newest_event_ms=NOON, metrics=tested)
    return folder


@pytest.fixture
async def shop(artifacts: Path, server: RedisServer) -> AsyncIterator[Stack]:
    # on a busy machine too, no call is sent twice, which would count twice
    async with stack(artifacts, server, hedge_seconds=60, request_timeout_seconds=60) as running:
        yield running


def value(name: str, **labels: str) -> float:
    """A sample of this process: gateway and services of a test run in it."""
    return REGISTRY.get_sample_value(name, labels) or 0.0


def growth(name: str, **labels: str) -> Callable[[], float]:
    """How much a sample has grown since this call."""
    before = value(name, **labels)
    return lambda: value(name, **labels) - before


async def encode(shop: Stack, buyer: str, *products: str, kind: str = "View") -> int:
    rows = as_json([event(one, kind, hours) for hours, one in enumerate(products)])
    return (await shop.post("/encode_buyer", {"buyer_id": buyer, "recent_interactions": rows})).status_code


async def test_history_lengths_are_counted_in_the_bins_of_the_training(shop: Stack) -> None:
    bins = [
        growth("twotower_drift_rows_total", version="drift-a", figure="history_length", bin=f"0{n}") for n in range(3)
    ]
    for count in (1, 2, 3, 4, 5):
        assert await encode(shop, f"length-{count}", *(f"p{n}" for n in range(count))) == 200
    assert [one() for one in bins] == [2, 1, 2]
    shares = [
        value("twotower_drift_training_share", version="drift-a", figure="history_length", bin=f"0{n}")
        for n in range(3)
    ]
    assert shares == LENGTHS.shares


async def test_only_the_best_score_of_an_unfiltered_list_for_a_buyer_counts(shop: Stack) -> None:
    bins = [growth("twotower_drift_rows_total", version="drift-a", figure="best_score", bin=f"0{n}") for n in range(3)]
    assert await encode(shop, "scores", "p0", "p4") == 200
    answer = await shop.answer("/retrieve", buyer_id="scores", k=5)
    expected = [0, 0, 0]
    expected[sum(answer["scores"][0] > edge for edge in (-0.5, 0.5))] = 1
    assert [one() for one in bins] == expected
    # none of these is a list that the training has figures of
    await shop.answer("/retrieve", buyer_id="scores", k=5, in_stock="true")
    await shop.answer("/retrieve", buyer_id="scores", k=5, sort="price_asc")
    await shop.answer("/similar", product_id="p1", k=5)
    await shop.answer("/search", q="خاتم", k=5)
    await shop.answer("/popular", k=5)
    assert [one() for one in bins] == expected


async def test_interactions_are_counted_by_known_and_unknown_products_and_events(shop: Stack) -> None:
    known, unknown, event_name = (
        growth("twotower_interactions_total", kind=kind)
        for kind in ("known_product", "unknown_product", "unknown_event")
    )
    assert await encode(shop, "kinds", "p1", "p2", "nobody-sells-this") == 200
    assert (known(), unknown(), event_name()) == (2, 1, 0)
    assert await encode(shop, "kinds", "unknown-1", "unknown-2") == 422
    assert (known(), unknown(), event_name()) == (2, 3, 0)
    assert await encode(shop, "kinds", "p1", "p2", kind="Wishlist") == 422
    assert (known(), unknown(), event_name()) == (2, 3, 2)
    rows = [{"buyer_id": "kinds", **one} for one in as_json([event("p3"), event("gone")])]
    assert (await shop.post("/interactions", {"interactions": rows})).status_code in (200, 201)
    assert (known(), unknown(), event_name()) == (3, 4, 2)


async def test_a_batch_is_timed_and_nothing_waits_at_its_end(shop: Stack) -> None:
    names = ("Redis reads", "buyer service", "retrieval service")
    assert await encode(shop, "batches", "p1") == 200
    counts = [
        growth(f"twotower_batch_{figure}_count", batcher=name)
        for name in names
        for figure in ("seconds", "wait_seconds")
    ]
    await shop.answer("/retrieve", buyer_id="batches", k=5)
    assert [one() for one in counts] == [1] * 6
    assert [value("twotower_batch_waiting", batcher=name) for name in names] == [0, 0, 0]


async def test_a_version_says_when_it_was_made_and_how_good_it_was(shop: Stack) -> None:
    labels = {"version": "drift-a"}
    assert value("twotower_model_created_seconds", **labels) == 1767225600
    assert value("twotower_model_newest_event_seconds", **labels) == NOON / 1000
    measured = {
        name: value("twotower_model_quality", **labels, metric=name) for name in ("recall@10", "ndcg@10", "cases")
    }
    assert measured == {"recall@10": 0.25, "ndcg@10": 0.125, "cases": 0.0}


async def test_the_gateway_shows_the_memory_of_redis(shop: Stack) -> None:
    await until(lambda: value("twotower_redis_memory_bytes") > 100_000)
    assert value("twotower_redis_memory_limit_bytes") == 0


def test_of_several_servers_the_fullest_counts() -> None:
    def info(used: int, limit: int) -> bytes:
        return f"# Memory\r\nused_memory:{used}\r\nused_memory_human:1M\r\nmaxmemory:{limit}\r\n".encode()

    show_memory([info(50, 100), info(90, 100), info(500, 0)])
    assert (value("twotower_redis_memory_bytes"), value("twotower_redis_memory_limit_bytes")) == (90, 100)
    show_memory([info(10, 0), info(70, 0)])
    assert (value("twotower_redis_memory_bytes"), value("twotower_redis_memory_limit_bytes")) == (70, 0)
