"""Again over gRPC: chances by hand, facts, filters, and why there is no list."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers.lists import write_lists
from tests.helpers.retrieval import JEWELLERY, Stub, query
from tests.helpers.services import running
from tests.helpers.tiny_version import build_version
from twotower.events import Interaction
from twotower.pb import retrieval_pb2
from twotower.serving import wire
from twotower.serving.client import call, connect

DAY = 86_400_000
NOW = 20_000 * DAY + DAY // 2  # noon


@pytest.fixture(scope="module")
def regular(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A version in which few buyers come back to p1 and p3."""
    artifacts = tmp_path_factory.mktemp("regular")
    build_version(artifacts, "r", lists=lambda files: write_lists(files, returns={1: 0.05, 3: 0.05}))
    return artifacts


@pytest.fixture
async def ours(regular: Path) -> AsyncIterator[Stub]:
    async with running("retrieval", regular) as service, connect(service.address) as channel:
        yield Stub(channel)


def bought(product: str, *days_ago: int, event: str = "Purchase") -> list[Interaction]:
    """Purchases at midnight."""
    return [Interaction(product, event, (20_000 - ago) * DAY) for ago in days_ago]


def packed(*groups: list[Interaction]) -> str:
    return wire.pack_history(sorted((one for group in groups for one in group), key=lambda one: one.timestamp_ms))


async def again(stub: Stub, history: str, asked: retrieval_pb2.Query | None = None) -> Any:
    whole = query(10) if asked is None else asked
    whole.history = history
    request = retrieval_pb2.AgainRequest(queries=[retrieval_pb2.AgainQuery(query=whole, now_ms=NOW)])
    answer = await call(stub.Again, request, 30, "retrieval service")
    return answer.hits[0]


def chance(repeats: int, last: float, observed: float) -> float:
    """By hand, for rates of Gamma(1, 10 days), Beta(1, 5) to give up, and the next 30 days."""
    still = 1 / (1 + 1 / (5 + repeats) * ((10 + observed) / (10 + last)) ** (1 + repeats))
    return still * (1 - ((10 + observed) / (40 + observed)) ** (1 + repeats))


async def test_products_come_by_the_chance_that_they_are_bought_soon(ours: Stub) -> None:
    history = packed(bought("p0", 90, 80), bought("p2", 21, 14, 7), bought("p4", 40))
    found = await again(ours, history)
    wanted = {
        "p2": chance(2, 14, 21.5),
        "p4": chance(0, 0, 40.5),
        "p0": chance(1, 10, 90.5),
    }
    assert wire.unpack_ids(found.hits.packed_product_ids) == sorted(wanted, key=lambda one: -wanted[one])
    np.testing.assert_allclose(sorted(wire.unpack_scores(found.hits.scores)), sorted(wanted.values()), rtol=1e-5)


async def test_the_facts_say_when_and_how_often(ours: Stub) -> None:
    found = await again(ours, packed(bought("p2", 21, 14, 7)))
    (due,) = found.due
    assert (due.last_ms, due.times) == ((20_000 - 7) * DAY, 3)
    # two intervals of 7 days beside two of the product's 10
    assert due.usual_days == pytest.approx(70**0.5, rel=1e-5)
    assert due.low_days < due.usual_days < due.high_days


async def test_what_was_bought_once_is_there_if_enough_buyers_come_back_to_it(ours: Stub) -> None:
    found = await again(ours, packed(bought("p1", 30), bought("p3", 30, 20), bought("p5", 30)))
    assert set(wire.unpack_ids(found.hits.packed_product_ids)) == {"p3", "p5"}


@pytest.mark.parametrize(
    ("history", "missing"),
    [
        ("", "PURCHASES"),
        (packed(bought("p0", 3, 2, event="View")), "PURCHASES"),
        (packed(bought("p1", 9), bought("p3", 8)), "REPEATS"),
        # twice on one day is once
        (
            wire.pack_history([Interaction("p1", "Purchase", NOW - 9 * DAY + minute) for minute in (0, 60_000)]),
            "REPEATS",
        ),
    ],
    ids=["nothing", "views", "once", "one day"],
)
async def test_a_buyer_without_repeats_has_no_list_and_a_reason(ours: Stub, history: str, missing: str) -> None:
    found = await again(ours, history)
    assert not found.hits.packed_product_ids and not found.due
    assert retrieval_pb2.AgainMissing.Name(found.missing) == missing


async def test_a_version_without_a_model_says_so(stub: Stub) -> None:
    found = await again(stub, packed(bought("p0", 9, 5)))
    assert not found.hits.packed_product_ids
    assert found.missing == retrieval_pb2.MODEL


async def test_filters_exclusions_and_sorting(ours: Stub) -> None:
    history = packed(*(bought(f"p{row}", 20 + row, 10 + row) for row in (0, 4, 6, 8, 10)))

    async def ids(asked: retrieval_pb2.Query) -> list[str]:
        found = await again(ours, history, asked)
        assert len(found.due) == len(wire.unpack_ids(found.hits.packed_product_ids))
        return wire.unpack_ids(found.hits.packed_product_ids)

    assert set(await ids(query(10))) == {"p0", "p4", "p6", "p8", "p10"}
    assert set(await ids(query(10, categories=[JEWELLERY]))) == {"p0", "p4", "p8"}
    # p6 is out of stock
    assert set(await ids(query(10, in_stock=True))) == {"p0", "p4", "p8", "p10"}
    assert set(await ids(query(10, ["p0", "p4"]))) == {"p6", "p8", "p10"}
    assert len(await ids(query(2))) == 2
    cheapest = query(10)
    cheapest.sort = retrieval_pb2.PRICE_ASC
    # p10 has no price
    assert await ids(cheapest) == ["p0", "p4", "p6", "p8", "p10"]
    unknown = await again(ours, history, query(10, brands=["nobody"]))
    assert list(unknown.hits.unknown_filter_values) == ["brand=nobody"]


async def test_products_that_the_version_lacks_are_left_out(ours: Stub) -> None:
    found = await again(ours, packed(bought("gone", 20, 10), bought("p0", 20, 10)))
    assert wire.unpack_ids(found.hits.packed_product_ids) == ["p0"]


async def test_a_purchase_ahead_of_the_clock_counts_as_now(ours: Stub) -> None:
    found = await again(ours, packed(bought("p0", 10, -1)))
    np.testing.assert_allclose(wire.unpack_scores(found.hits.scores), [chance(1, 11, 11)], rtol=1e-5)
