"""GET /together and POST /complete, over HTTP, with a real Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import orjson
import pytest
import pytest_asyncio
from redis import Redis

from gateway.schemas.answers import ListAnswer
from tests.helpers.complements import tiny_complements
from tests.helpers.redis_server import RedisServer
from tests.helpers.services import until
from tests.helpers.stack import Reference, Stack, stack
from tests.helpers.tiny_version import build_version
from twotower.event_log import KINDS, STREAM, ListRecord

pytestmark = pytest.mark.asyncio(loop_scope="module")
VERSION = "together"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    artifacts = tmp_path_factory.mktemp("artifacts")
    build_version(artifacts, VERSION, complements=tiny_complements())
    async with stack(artifacts, server, event_log=True) as running:
        yield running


@pytest.fixture(scope="module")
def reference(system: Stack) -> Reference:
    return Reference(system.artifacts, VERSION)


async def complete(system: Stack, *cart: str, **more: Any) -> dict[str, Any]:
    response = await system.post("/complete", {"product_ids": cart, **more})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    ListAnswer.model_validate(answer, strict=True)
    return answer


async def refused(system: Stack, body: dict[str, Any]) -> tuple[int, str, str]:
    response = await system.post("/complete", body)
    problem = response.json()
    return response.status_code, problem["field"], problem["detail"]


async def test_complements_come_first(system: Stack) -> None:
    answer = await system.answer("/together", product_id="p0", k=3)
    ListAnswer.model_validate(answer, strict=True)
    assert answer["product_ids"] == ["p9", "p6", "p13"]
    assert answer["scores"] == [5.0, 4.0, 3.0]
    assert (answer["source"], answer["model_version"], answer["warnings"]) == ("together", VERSION, [])


async def test_popular_products_fill_a_short_list_openly(system: Stack, reference: Reference) -> None:
    answer = await system.answer("/together", product_id="p0", k=8)
    others = list(reference.popular(4, ["p0", "p9", "p6", "p13", "p2"]))
    assert answer["product_ids"] == ["p9", "p6", "p13", "p2", *others]
    assert answer["scores"] == [5.0, 4.0, 3.0, 1.0, 0, 0, 0, 0]
    assert answer["source"] == "together"
    assert answer["warnings"] == ["only 4 of these products are known to go with 'p0'; popular products fill the list"]


async def test_a_product_without_complements_says_so(system: Stack, reference: Reference) -> None:
    answer = await system.answer("/together", product_id="p5", k=4)
    assert answer["product_ids"] == list(reference.popular(4, ["p5"]))
    assert answer["source"] == "popular"
    assert answer["warnings"] == ["none of these products is known to go with 'p5'; popular products fill the list"]


async def test_a_cart_is_completed_by_what_all_of_it_speaks_for(system: Stack) -> None:
    answer = await complete(system, "p0", "p1", k=4)
    # p13: 0.25 + 0.5; p9 0.5; p6 0.375; p2 0.0625; p0 is in the cart
    assert answer["product_ids"] == ["p13", "p9", "p6", "p2"]
    assert answer["scores"] == [0.75, 0.5, 0.375, 0.0625]
    assert (answer["source"], answer["warnings"]) == ("together", [])
    # two pieces of one product are one
    assert (await complete(system, "p0", "p1", "p0", k=4))["product_ids"] == answer["product_ids"]


async def test_filters_and_exclusions_hold(system: Stack, reference: Reference) -> None:
    # p6 is out of stock
    answer = await system.answer("/together", product_id="p0", k=40, in_stock="true", exclude=["p13", "nothing"])
    allowed = {one.id for one in reference.products.values() if one.in_stock} - {"p0", "p13"}
    assert answer["product_ids"][:2] == ["p9", "p2"]
    assert set(answer["product_ids"]) == allowed and len(answer["product_ids"]) == len(allowed)
    found = await complete(system, "p0", "p1", k=2, price_min=16, price_max=20.5, category=["عطور", "زهور"])
    # 10 + row: p9 costs 19, p13 23
    assert found["product_ids"][0] == "p9"
    assert "no product has category=زهور" in found["warnings"]
    none = await complete(system, "p0", brand=["لا أحد"])
    assert (none["product_ids"], none["source"]) == ([], "popular")


async def test_a_list_can_be_sorted_by_price_and_keeps_its_reasons(system: Stack) -> None:
    answer = await complete(system, "p0", "p1", k=3, sort="price_asc", include=["products", "reasons"])
    assert answer["product_ids"] == ["p6", "p9", "p13"]
    assert [one["price"] for one in answer["products"]] == [16.0, 19.0, 23.0]
    assert [one["because"][0]["product_id"] for one in answer["reasons"]] == ["p0", "p0", "p1"]


async def test_reasons_name_the_product_of_the_cart(system: Stack, reference: Reference) -> None:
    answer = await system.answer("/together", product_id="p0", k=5, include="reasons")
    title = reference.products["p0"].title
    sentences = [one["sentence"]["en"] for one in answer["reasons"]]
    assert sentences == [
        *[f"Often chosen together with “\u2068{title}\u2069”"] * 3,
        f"From a category that is chosen with that of “\u2068{title}\u2069”",
        "Popular with shoppers",
    ]
    assert answer["reasons"][0]["sentence"]["ar"] == f"كثيرًا ما يُختار مع «{title}»"
    assert answer["reasons"][0]["because"] == [{"product_id": "p0", "event_type": "", "share": 1.0}]
    assert answer["reasons"][4]["because"] == []


async def test_unknown_products_are_named(system: Stack) -> None:
    answer = await complete(system, "لا شيء", "p1", k=2)
    assert answer["product_ids"] == ["p13", "p0"]
    # the reason's place counts from the whole cart
    reasons = (await complete(system, "لا شيء", "p1", k=1, include=["reasons"]))["reasons"]
    assert reasons[0]["because"][0]["product_id"] == "p1"
    assert answer["warnings"] == ["product 'لا شيء' is not known"]
    response = await system.get("/together", product_id="لا شيء")
    assert (response.status_code, response.json()["field"]) == (404, "product_id")
    assert await refused(system, {"product_ids": ["x", "y"]}) == (
        404,
        "product_ids",
        "none of the 2 products of the cart is known",
    )


async def test_diversity_says_that_it_has_no_effect(system: Stack) -> None:
    answer = await system.answer("/together", product_id="p0", k=3, diversity="0.5")
    assert answer["product_ids"] == ["p9", "p6", "p13"]
    assert answer["warnings"] == ["diversity has no effect on products that are bought together"]


async def test_a_dismissed_product_completes_no_cart_of_that_buyer(system: Stack) -> None:
    buyer = uuid4().hex
    row = {"buyer_id": buyer, "product_id": "p13", "event_type": "Dismiss", "timestamp": "2026-01-01T12:00:00Z"}
    assert (await system.post("/interactions", row)).status_code == 200
    assert (await complete(system, "p1", k=1, buyer_id=buyer))["product_ids"] == ["p0"]
    assert (await complete(system, "p1", k=1))["product_ids"] == ["p13"]


@pytest.mark.parametrize(
    ("body", "field", "why"),
    [
        ({}, "product_ids", "is missing"),
        ({"product_ids": []}, "product_ids", "must not be empty"),
        ({"product_ids": ["p1"] * 101}, "product_ids", "more than 100 values"),
        ({"product_ids": "p1"}, "product_ids", "must be a list"),
        ({"product_ids": ["p1", ""]}, "product_ids[1]", "must not be empty"),
        ({"product_ids": ["p1"], "k": "3"}, "k", "must be a whole number, not a text"),
        ({"product_ids": ["p1"], "k": 0}, "k", "must be between 1 and"),
        ({"product_ids": ["p1"], "in_stock": "true"}, "in_stock", "must be true or false"),
        ({"product_ids": ["p1"], "price_min": 5, "price_max": 2}, "price_max", "below price_min"),
        ({"product_ids": ["p1"], "buyer_id": None}, "buyer_id", "must be a string"),
        ({"product_ids": ["p1"], "cart": []}, "cart", "is not a known field"),
    ],
)
async def test_bad_input_is_named(system: Stack, body: dict[str, Any], field: str, why: str) -> None:
    status, named, detail = await refused(system, body)
    assert (status, named) == (422, field)
    assert why in detail


async def test_lists_are_logged(system: Stack, server: RedisServer) -> None:
    raw = Redis(port=server.port)
    await system.answer("/together", product_id="p0", k=2, slot="page", session_id="s")
    await complete(system, "p0", "p1", k=1, slot="basket", buyer_id="ليلى")

    def logged() -> list[Any]:
        values = [fields[b"lists"] for _, fields in raw.xrange(STREAM) if b"lists" in fields]
        found = [KINDS["lists"](*row) for value in values for row in orjson.loads(value)]
        # those of the other tests have the slots product and cart
        own = [one for one in found if one.slot in ("page", "basket")]
        return sorted(own, key=lambda one: str(one.slot), reverse=True)

    one, two = await until(logged, lambda found: len(found) == 2)
    assert isinstance(one, ListRecord) and isinstance(two, ListRecord)
    assert (one.route, one.slot, one.product_id, one.session_id) == ("/together", "page", "p0", "s")
    assert (one.source, one.product_ids) == ("together", "p9\np6")
    assert (two.route, two.slot, two.product_id, two.buyer_id) == ("/complete", "basket", None, "ليلى")
    assert (two.source, two.product_ids, two.model_version) == ("together", "p13", VERSION)
