"""The admin API about rules: a real Redis, real services, two gateways on them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from redis import Redis

from gateway.history.codec import shown_key_of
from gateway.rules.file import read_rules
from tests.helpers.redis_server import RedisServer
from tests.helpers.services import running, until
from tests.helpers.stack import Stack, as_json, event, gateway
from twotower.errors import SettingsError

pytestmark = pytest.mark.asyncio(loop_scope="module")

JEWELLERY = "مجوهرات"
# of all gateways here
SETTINGS: dict[str, Any] = {}
PIN = {"name": "eid", "slot": ["home"], "do": "pin", "product_id": "p20", "place": 1}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop(tiny: Path, server: RedisServer) -> AsyncIterator[Stack]:
    async with AsyncExitStack() as exits:
        for name in ("item", "buyer", "retrieval"):
            service = await exits.enter_async_context(running(name, tiny))
            SETTINGS[f"{name}_address"] = service.address
        SETTINGS["redis_url"] = server.url
        server.mark_loaded()
        system = Stack(await exits.enter_async_context(gateway(**SETTINGS)), server, tiny)
        rows = as_json([event("p4", "View", 30), event("p8", "AddToCart", 20), event("p12", "Purchase", 10)])
        await system.post("/encode_buyer", {"buyer_id": "b1", "recent_interactions": rows})
        yield system


async def put(shop: Stack, rules: list[Any], note: str = "") -> dict[str, Any]:
    version = (await shop.get("/rules")).json()["version"]
    answer = await shop.client.put("/rules", json={"rules": rules, "version": version, "note": note})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_rules_are_put_read_and_in_force_at_once(shop: Stack) -> None:
    assert (await shop.get("/rules")).json()["source"] == "redis"
    written = await put(shop, [PIN])
    assert written["rules"] == [{**PIN, "when": "", "enabled": True}] and written["warnings"] == []
    answer = await shop.answer("/retrieve", buyer_id="b1", k=5, include="reasons")
    assert answer["product_ids"][0] == "p20" and len(set(answer["product_ids"])) == 5
    assert answer["reasons"][0]["placed_by"] == "eid" and answer["reasons"][1]["placed_by"] is None
    assert answer["reasons"][0]["sentence"]["en"] == "The shop's choice"
    # another slot has no such rule
    assert (await shop.answer("/retrieve", buyer_id="b1", k=5, slot="cart"))["product_ids"][0] != "p20"


async def test_of_two_writers_the_second_is_refused(shop: Stack) -> None:
    version = (await put(shop, [PIN]))["version"]
    body = {"rules": [], "version": version, "note": "none"}
    assert (await shop.client.put("/rules", json=body)).json()["version"] == version + 1
    late = await shop.client.put("/rules", json=body)
    assert late.status_code == 409 and f"version {version + 1}, not {version}" in late.json()["detail"]
    assert (await shop.get("/rules")).json()["rules"] == []


async def test_history_and_undo(shop: Stack) -> None:
    first = await put(shop, [PIN], "for Eid")
    await put(shop, [], "over")
    undone = await shop.post("/rules/undo", {"version": first["version"]})
    assert undone.json()["version"] == first["version"] + 2 and undone.json()["rules"] == first["rules"]
    versions = (await shop.get("/rules/history")).json()["versions"]
    assert [one["note"] for one in versions[:3]] == [f"as version {first['version']}", "over", "for Eid"]
    assert versions[0]["rules"] == first["rules"] and versions[0]["at"].endswith("+00:00")
    lost = await shop.post("/rules/undo", {"version": 10**6})
    assert lost.status_code == 404


async def test_every_gateway_sees_new_rules(shop: Stack) -> None:
    async with gateway(**SETTINGS) as second:
        await put(shop, [PIN])

        async def first_product() -> str:
            found = await second.get("/popular", params={"k": 3})
            return str(found.json()["product_ids"][0])

        assert await until(first_product, lambda one: one == "p20") == "p20"
        await put(shop, [])
        await until(first_product, lambda one: one != "p20")


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ({"do": "pin"}, "product_id"),
        ({}, "rules[0].do is missing"),
        ({"do": "dance"}, "rules[0].do 'dance': must be one of 'include'"),
        ({"do": "boost", "factor": 1}, "rules[0].factor 1: must be above 1"),
        ({"do": "exclude", "when": "colour = 1"}, "rules[0].when 'colour = 1': character 1: colour is no field"),
        ({"do": "exclude", "when": '__import__("os")'}, "no field"),
        ({"do": "exclude", "from": "2026-01-01T00:00:00"}, "must have its zone"),
        ({"do": "price_range"}, "min, max or both"),
        ({"do": "exclude", "slot": ["No Slot"]}, "slot"),
    ],
)
async def test_a_bad_rule_is_refused_with_its_field(shop: Stack, rule: dict[str, Any], problem: str) -> None:
    version = (await shop.get("/rules")).json()["version"]
    body = {"rules": [{"name": "bad", **rule}], "version": version}
    answer = await shop.client.put("/rules", json=body)
    assert answer.status_code == 422 and problem in answer.text, answer.text
    assert (await shop.get("/rules")).json()["version"] == version


async def test_preview_changes_nothing(shop: Stack) -> None:
    await put(shop, [])
    rules = [PIN, {"name": "none", "do": "exclude", "when": f'category = "{JEWELLERY}"'}]
    for who in ({"buyer_id": "b1"}, {"query": "عطر"}, {"product_id": "p1"}, {}):
        body = {"rules": rules, "slot": "home", "k": 6, **who}
        answer = (await shop.post("/rules/preview", body)).json()
        # p20 is jewellery, so it is excluded
        assert [one["placed_by"] for one in answer["after"]] == [None] * 6
        assert JEWELLERY not in {one["category"] for one in answer["after"]}
        assert len(answer["before"]) == 6 and answer["before"][0]["title"]
        assert [one["message"] for one in answer["warnings"]] == ["contradicts 'none': the product is excluded"]
    assert (await shop.get("/rules")).json()["rules"] == []
    both = await shop.post("/rules/preview", {"rules": [], "buyer_id": "b1", "query": "x"})
    assert both.status_code == 422


async def test_a_file_is_the_only_source(shop: Stack, tmp_path: Path) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text("rules:\n  - {name: eid, do: pin, product_id: p20}\n")
    async with gateway(**SETTINGS, rules_file=file) as client:

        async def first_product() -> str:
            return str((await client.get("/popular", params={"k": 3})).json()["product_ids"][0])

        assert await first_product() == "p20"
        refused = await client.put("/rules", json={"rules": [], "version": 1})
        assert refused.status_code == 409 and "rules.yaml" in refused.json()["detail"]
        # a bad file keeps the last good rules
        file.write_text("rules:\n  - {name: eid, do: pin, product_id: p21}\n  - {name: x, do: pin}\n")
        await until(lambda: metric(client, "twotower_rules_refused_total"), lambda count: count >= 1)
        assert await first_product() == "p20"
        file.write_text(
            "rules:\n  - {name: eid, do: pin, product_id: p21}\n\n  - {name: x, do: pin, product_id: gone}\n"
        )
        await until(first_product, lambda one: one == "p21")
        warnings = (await client.get("/rules")).json()["warnings"]
        assert [(one["rule"], one["line"]) for one in warnings] == [("x", 4), ("x", 4)]
        file.unlink()
        await until(first_product, lambda one: one not in ("p20", "p21"))


async def metric(client: httpx.AsyncClient, name: str) -> float:
    lines = (await client.get("/metrics")).text.splitlines()
    return next((float(line.split()[1]) for line in lines if line.startswith(name)), 0.0)


async def test_a_visit_is_not_shown_the_same_again_until_it_is_forgotten(shop: Stack) -> None:
    await put(shop, [{"name": "rotation", "slot": ["email"], "do": "no_repeats", "hours": 2}])
    shown = set[str]()
    for _ in range(3):
        answer = await shop.answer("/retrieve", buyer_id="b1", session_id="s1", k=12, slot="email")
        assert not shown.intersection(answer["product_ids"])
        shown.update(answer["product_ids"])
    # four products are left, so the rest comes again
    last = await shop.answer("/retrieve", buyer_id="b1", k=12, slot="email")
    assert len(set(last["product_ids"])) == 12 and len(shown | set(last["product_ids"])) == 40
    # another slot, and a preview, are none of its business
    first = (await shop.answer("/retrieve", buyer_id="b1", k=12))["product_ids"]
    assert first == (await shop.answer("/retrieve", buyer_id="b1", k=12))["product_ids"]
    guest = [await shop.answer("/popular", session_id="s9", k=5, slot="email") for _ in range(2)]
    assert not set(guest[0]["product_ids"]) & set(guest[1]["product_ids"])
    with Redis(port=shop.redis.port) as raw:
        assert raw.exists(shown_key_of("b1"))
    await put(shop, [])


async def test_facts_of_the_buyer_and_the_request(shop: Stack) -> None:
    def rule(when: str) -> list[dict[str, Any]]:
        return [{"name": "x", "slot": "*", "do": "pin", "product_id": "p35", "when": when}]

    async def is_first(path: str, **query: Any) -> bool:
        return bool((await shop.answer(path, k=3, **query))["product_ids"][0] == "p35")

    for when, buyer, guest, search, similar in (
        ('buyer.did = "Purchase"', True, False, False, False),
        ('buyer.products in ["p8", "p9"]', True, False, False, False),
        ("buyer.events = 3", True, False, False, False),
        ("buyer.guest = true", False, True, False, False),
        ("buyer.known = false", False, True, False, False),
        ("buyer.days_since > 1", True, False, False, False),
        ('buyer.id = "b1"', True, False, False, False),
        ('request.query has "عطر"', False, False, True, False),
        ('request.product_id = "p2"', False, False, False, True),
        ('not (request.query has "عطر")', True, True, False, True),
    ):
        await put(shop, rule(when))
        found = (
            await is_first("/retrieve", buyer_id="b1"),
            await is_first("/retrieve", session_id="nobody"),
            await is_first("/search", q="عطر مسك"),
            await is_first("/similar", product_id="p2"),
        )
        assert found == (buyer, guest, search, similar), when
    await put(shop, [])


async def test_a_rule_acts_within_its_window(shop: Stack) -> None:
    past = {**PIN, "until": "2020-01-01T00:00:00+03:00"}
    answer = await put(shop, [past, {**PIN, "name": "later", "from": "2999-01-01T00:00:00Z"}])
    assert [one["message"] for one in answer["warnings"]] == ["its window is past: it ended 2020-01-01T00:00:00+03:00"]
    assert (await shop.answer("/popular", k=3))["product_ids"][0] != "p20"
    await put(shop, [{**PIN, "from": "2020-01-01T00:00:00Z", "until": "2999-01-01T00:00:00Z"}])
    assert (await shop.answer("/popular", k=3))["product_ids"][0] == "p20"
    await put(shop, [{**PIN, "enabled": False}])
    assert (await shop.answer("/popular", k=3))["product_ids"][0] != "p20"


@pytest.mark.parametrize(
    ("rules", "warnings"),
    [
        (
            [{"do": "exclude", "when": 'brand = "بلا"'}],
            [("0", "no product has brand=بلا"), ("0", "no product matches")],
        ),
        ([{"do": "boost", "when": 'product_id in ["p1", "gone"]'}], [("0", "no product has product_id=gone")]),
        ([{"do": "bury", "when": "price > 5 and price < 5"}], [("0", "no product matches")]),
        ([{"do": "pin", "product_id": "gone"}], [("0", "the product 'gone' is not known")]),
        (
            [{"do": "exclude", "from": "2030-01-02T00:00:00Z", "until": "2030-01-01T00:00:00Z"}],
            [("0", "its window is empty: it ends 2030-01-01T00:00:00+00:00 and begins 2030-01-02T00:00:00+00:00")],
        ),
        (
            [{"do": "pin", "product_id": "p1"}, {"do": "exclude", "when": 'product_id = "p1"'}],
            [("0", "contradicts '1': the product is excluded")],
        ),
        (
            [{"do": "include", "when": "price < 30"}, {"do": "price_range", "min": 40}],
            [("0", "contradicts '1': all products that match are excluded")],
        ),
        (
            [{"do": "pin", "product_id": "p1"}, {"do": "pin", "product_id": "p2"}],
            [("1", "contradicts '0': both want place 1, and the first rule counts")],
        ),
        (
            [{"do": "boost", "when": "price < 30"}, {"do": "bury", "when": "price < 30"}],
            [("1", "contradicts '0': it buries what the other boosts")],
        ),
        # they never act on one list
        ([{"do": "pin", "product_id": "p1", "slot": ["a"]}, {"do": "pin", "product_id": "p2", "slot": ["b"]}], []),
        ([{"do": "pin", "product_id": "p1"}, {"do": "exclude", "when": "buyer.guest = true"}], []),
        ([{"do": "boost", "when": "buyer.events > 5", "factor": 2}], []),
    ],
)
async def test_what_cannot_act_is_a_warning(
    shop: Stack, rules: list[dict[str, Any]], warnings: list[tuple[str, str]]
) -> None:
    named = [{"name": str(place), **one} for place, one in enumerate(rules)]
    answer = await shop.post("/rules/preview", {"rules": named})
    assert [(one["rule"], one["message"]) for one in answer.json()["warnings"]] == warnings


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("rules:\n  - name: a\n    do: exclude\n    when: 'price <'\n", "line 4: rules.0.when: character 8"),
        ("rules:\n  - {name: a, do: exclude}\n  - name: b\n    do: dance\n", "line 4: rules.1.do"),
        ("rules:\n  - {name: a, do: exclude}\n  - {name: b, do: at_most, n: 0, field: brand}\n", "line 3: rules.1.n"),
        ("rules:\n  - name: a\n    name: b\n", "line 3: the key 'name' stands there twice"),
        ("rules:\n  - {name: a, do: exclude}\n  - {name: a, do: exclude}\n", "the rule a stands there twice"),
        ("rules: [\n", "is not YAML"),
        ("ruls: []\n", "line 1: ruls"),
    ],
)
async def test_a_bad_file_is_refused_with_its_line(tmp_path: Path, text: str, problem: str) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(text)
    with pytest.raises(SettingsError) as raised:
        read_rules(file)
    assert problem in str(raised.value)
