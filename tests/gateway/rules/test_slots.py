"""Rules of slots over /again, /trending, /together and /complete; products p0 to p39, four categories in turn, priced
10 more than their number, p0 the most popular.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
import pytest_asyncio

from tests.helpers.complements import tiny_complements
from tests.helpers.lists import write_lists
from tests.helpers.redis_server import RedisServer
from tests.helpers.stack import Stack, stack
from tests.helpers.tiny_version import build_version

pytestmark = pytest.mark.asyncio(loop_scope="module")

DAY = 86_400_000
PLACED = {"ar": "اختيار المتجر", "en": "The shop's choice"}
# (product, score) of /trending without rules
RISING = [("p5", 3.0), ("p2", 2.0), ("p9", 1.5)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop(server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    artifacts = tmp_path_factory.mktemp("slots")
    build_version(artifacts, "slots", lists=write_lists, complements=tiny_complements())
    async with stack(artifacts, server) as system:
        now = int(time.time() * 1000)
        bought = [("p0", 21.01), ("p0", 14.01), ("p0", 7.01), ("p4", 60.01)]
        rows = [
            {"buyer_id": "coffee", "product_id": one, "event_type": "Purchase", "timestamp": now - round(ago * DAY)}
            for one, ago in bought
        ]
        assert (await system.post("/interactions", {"interactions": rows})).status_code == 200
        yield system


async def put(shop: Stack, *rules: dict[str, Any]) -> None:
    version = (await shop.get("/rules")).json()["version"]
    named = [{"name": str(place), **one} for place, one in enumerate(rules)]
    answer = await shop.client.put("/rules", json={"rules": named, "version": version})
    assert answer.status_code == 200, answer.text


async def complete(shop: Stack, cart: Sequence[str], **more: Any) -> list[str]:
    answer = await shop.post("/complete", {"product_ids": cart, **more})
    assert answer.status_code == 200, answer.text
    found: list[str] = answer.json()["product_ids"]
    return found


@pytest.mark.parametrize(
    ("rule", "k", "right"),
    [
        ({"do": "exclude", "when": 'product_id = "p5"'}, 10, ["p2", "p9"]),
        ({"do": "bury", "when": 'product_id = "p5"'}, 10, ["p2", "p9", "p5"]),
        # 1.5 x 3 is above 3.0
        ({"do": "boost", "factor": 3, "when": 'product_id = "p9"'}, 10, ["p9", "p5", "p2"]),
        # p5 and p9 are of one category; where nothing else is left, the limit gives way
        ({"do": "at_most", "n": 1, "field": "category"}, 2, ["p5", "p2"]),
        ({"do": "at_most", "n": 1, "field": "category"}, 10, ["p5", "p2", "p9"]),
        # 15, 12 and 19
        ({"do": "price_range", "max": 14.5}, 10, ["p2"]),
        ({"do": "pin", "product_id": "p20", "place": 2}, 10, ["p5", "p20", "p2", "p9"]),
        ({"do": "pin", "product_id": "p9", "place": 1}, 2, ["p9", "p5"]),
        ({"do": "include", "n": 1, "when": 'product_id = "p30"'}, 10, ["p5", "p2", "p9", "p30"]),
        ({"do": "include", "n": 1, "when": 'product_id = "p30"'}, 3, ["p5", "p2", "p30"]),
        ({"do": "include", "n": 1, "when": 'product_id = "p2"'}, 3, ["p5", "p2", "p9"]),
        ({"do": "exclude", "when": 'product_id != "nobody"'}, 10, []),
    ],
)
async def test_each_kind_of_rule_acts_on_rising_products(
    shop: Stack, rule: dict[str, Any], k: int, right: list[str]
) -> None:
    await put(shop, {"slot": ["trending"], **rule})
    assert (await shop.answer("/trending", k=k))["product_ids"] == right
    # of another slot it is no rule
    assert (await shop.answer("/trending", k=k, slot="home"))["product_ids"] == [one for one, _ in RISING][:k]


async def test_what_a_rule_brings_has_no_score_and_no_rise(shop: Stack) -> None:
    await put(shop, {"name": "eid", "do": "pin", "product_id": "p20", "place": 2})
    answer = await shop.answer("/trending", include=["reasons", "products"])
    assert answer["scores"] == [3.0, 0.0, 2.0, 1.5]
    assert [one["product_id"] for one in answer["products"]] == ["p5", "p20", "p2", "p9"]
    first, pinned, *_ = answer["reasons"]
    assert (first["placed_by"], first["rise"]["buyers"]) == (None, 40)
    assert (pinned["placed_by"], pinned["rise"], pinned["sentence"]) == ("eid", None, PLACED)
    # the caller's own filter counts for it too
    assert (await shop.answer("/trending", exclude="p20"))["product_ids"] == ["p5", "p2", "p9"]
    assert (await shop.answer("/trending", price_max=14))["product_ids"] == ["p2"]


async def test_rules_act_on_what_a_buyer_buys_again(shop: Stack) -> None:
    await put(shop, {"name": "new", "do": "pin", "product_id": "p20", "when": "buyer.events > 3"})
    answer = await shop.answer("/again", buyer_id="coffee", include="reasons")
    assert answer["product_ids"] == ["p20", "p0", "p4"] and answer["scores"][0] == 0.0
    pinned, due, _ = answer["reasons"]
    assert (pinned["placed_by"], pinned["due"], pinned["sentence"]) == ("new", None, PLACED)
    assert (due["placed_by"], due["due"]["times"]) == (None, 3)
    assert (await shop.answer("/again", buyer_id="coffee", sort="price_asc"))["product_ids"] == ["p0", "p4", "p20"]
    # the fact is not true of this buyer
    nobody = await shop.answer("/again", buyer_id="nobody")
    assert nobody["product_ids"] == [] and nobody["warnings"] == ["the buyer's stored history holds no purchase"]


async def test_a_product_that_is_due_keeps_its_figures_when_it_is_moved(shop: Stack) -> None:
    await put(shop, {"name": "first", "do": "pin", "product_id": "p4"})
    answer = await shop.answer("/again", buyer_id="coffee", include="reasons")
    assert answer["product_ids"] == ["p4", "p0"]
    moved = answer["reasons"][0]
    assert (moved["placed_by"], moved["due"]["times"], moved["sentence"]) == ("first", 1, PLACED)


async def test_a_share_of_an_empty_list_is_nothing(shop: Stack) -> None:
    await put(shop, {"do": "fresh_share", "share": 0.5, "days": 3650})
    assert (await shop.answer("/again", buyer_id="nobody"))["product_ids"] == []


@pytest.mark.parametrize(
    ("rule", "right", "placed_by"),
    [
        ({"do": "exclude", "when": 'product_id = "p9"'}, ["p6", "p13", "p2"], None),
        ({"do": "boost", "factor": 2, "when": 'product_id = "p13"'}, ["p13", "p9", "p6"], "0"),
        ({"do": "bury", "when": 'product_id = "p9"'}, ["p6", "p13", "p2"], None),
        ({"do": "pin", "product_id": "p30"}, ["p30", "p9", "p6"], "0"),
        ({"do": "include", "when": 'product_id = "p30"'}, ["p9", "p6", "p30"], None),
        # p0 is the product asked for
        ({"do": "pin", "product_id": "p0"}, ["p9", "p6", "p13"], None),
        ({"do": "exclude", "when": 'request.product_id = "p0" and product_id = "p6"'}, ["p9", "p13", "p2"], None),
        ({"do": "exclude", "when": 'request.product_id = "p1" and product_id = "p6"'}, ["p9", "p6", "p13"], None),
    ],
)
async def test_rules_act_on_what_is_bought_together(
    shop: Stack, rule: dict[str, Any], right: list[str], placed_by: str | None
) -> None:
    await put(shop, {"slot": ["product"], **rule})
    answer = await shop.answer("/together", product_id="p0", k=3, include="reasons")
    assert (answer["product_ids"], answer["reasons"][0]["placed_by"]) == (right, placed_by)
    # each says what it goes with, wherever it stands
    named = {
        one: [part["product_id"] for part in why["because"]] for one, why in zip(right, answer["reasons"], strict=True)
    }
    assert named == {one: [] if one == "p30" else ["p0"] for one in right}


async def test_rules_know_the_cart_and_what_was_shown_with_it(shop: Stack) -> None:
    rule = {"do": "exclude", "slot": ["cart"], "when": 'request.product_id = "p1" and product_id = "p13"'}
    await put(shop, rule)
    assert await complete(shop, ["p0", "p1"], k=4) == ["p9", "p6", "p2", "p3"]
    assert await complete(shop, ["p0"], k=3) == ["p9", "p6", "p13"]
    await put(shop, {"do": "no_repeats", "slot": ["cart"], "hours": 1})
    for owner in ({"session_id": "visit"}, {"buyer_id": "b9"}):
        assert await complete(shop, ["p0"], k=2, **owner) == ["p9", "p6"]
        assert await complete(shop, ["p0"], k=2, **owner) == ["p13", "p2"]


async def test_each_list_has_a_preview(shop: Stack) -> None:
    await put(shop)
    rules = [{"name": "draft", "do": "pin", "product_id": "p20"}]
    for asked, before in (
        ({"route": "trending"}, ["p5", "p2"]),
        ({"route": "again", "buyer_id": "coffee"}, ["p0", "p4"]),
        ({"route": "together", "product_id": "p0"}, ["p9", "p6"]),
    ):
        answer = await shop.post("/rules/preview", {"rules": rules, "k": 2, **asked})
        assert answer.status_code == 200, answer.text
        lists = {name: [one["product_id"] for one in answer.json()[name]] for name in ("before", "after")}
        assert lists == {"before": before, "after": ["p20", before[0]]}
        assert answer.json()["after"][0]["placed_by"] == "draft"


@pytest.mark.parametrize(
    ("asked", "problem"),
    [
        ({"route": "again"}, "of /again names nothing; name buyer_id"),
        ({"route": "together", "buyer_id": "b1"}, "of /together names buyer_id; name product_id"),
        ({"route": "trending", "query": "خاتم"}, "of /trending names query; name none of the three"),
    ],
)
async def test_a_preview_of_a_list_names_what_the_list_needs(shop: Stack, asked: dict[str, str], problem: str) -> None:
    answer = await shop.post("/rules/preview", {"rules": [], **asked})
    assert answer.status_code == 422 and problem in answer.json()["detail"]
