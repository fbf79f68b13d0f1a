"""`include=reasons`: shares that sum to 1, and sentences, through the API."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
import pytest_asyncio

from gateway import sentences
from gateway.sentences import Cause, Sentence
from tests.helpers.redis_server import RedisServer
from tests.helpers.stack import Stack, stack
from tests.helpers.tiny_version import build_version
from twotower.artifact.manifest import Fusion

pytestmark = pytest.mark.asyncio(loop_scope="module")
FUSION = Fusion(neighbour_weight=0.5, steps=3, prior_weight=0.1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    artifacts = tmp_path_factory.mktemp("artifacts")
    build_version(artifacts, "reasons", fusion=FUSION, publish=True)
    async with stack(artifacts, server) as running:
        history = [
            {"product_id": product, "event_type": event, "timestamp": f"2025-01-0{day}T12:00:00Z"}
            for day, (product, event) in enumerate([("p0", "View"), ("p4", "Purchase"), ("p0", "AddToCart")], 1)
        ]
        response = await running.post("/encode_buyer", {"buyer_id": "gold", "recent_interactions": history})
        assert response.status_code == 200, response.text
        yield running


def total(reason: dict[str, Any]) -> float:
    shares = sum(one["share"] for one in reason["because"])
    return float(shares + reason["taste"] + reason["popularity"] + reason["others"])


@pytest.mark.parametrize("more", [{}, {"diversity": 0.5}, {"exclude_seen": True}, {"sort": "price_asc"}])
async def test_the_shares_of_a_recommendation_sum_to_one(system: Stack, more: dict[str, Any]) -> None:
    answer = await system.answer("/retrieve", buyer_id="gold", k=10, include=["reasons", "products"], **more)
    plain = await system.answer("/retrieve", buyer_id="gold", k=10, **more)
    assert answer["product_ids"] == plain["product_ids"] and "reasons" not in plain
    np.testing.assert_allclose(answer["scores"], plain["scores"], atol=1e-6)
    known = [one for one, score in zip(answer["reasons"], answer["scores"], strict=True) if score > 0]
    assert len(known) > 5
    for one in known:
        assert total(one) == pytest.approx(1, abs=1e-3)
    # each with its event of greatest weight
    events = {because["product_id"]: because["event_type"] for one in known for because in one["because"]}
    assert events == {"p0": "AddToCart", "p4": "Purchase"}


async def test_a_product_of_the_history_and_another_one_say_why(system: Stack) -> None:
    answer = await system.answer("/retrieve", buyer_id="gold", k=40, include=["reasons", "products"])
    reasons = dict(zip(answer["product_ids"], answer["reasons"], strict=True))
    assert reasons["p4"]["sentence"]["ar"] == "سبق أن اشتريته"
    others = [one["sentence"]["ar"] for product, one in reasons.items() if product not in ("p0", "p4")]
    assert any(one.startswith("لأنك اشتريت «") for one in others)


async def test_popular_products_say_so(system: Stack) -> None:
    for path, query in (("/retrieve", {"buyer_id": "nobody"}), ("/popular", {})):
        answer = await system.answer(path, include="reasons", k=3, **query)
        assert [one["popularity"] for one in answer["reasons"]] == [1, 1, 1]
        assert {one["sentence"]["en"] for one in answer["reasons"]} == {"Popular with shoppers"}


async def test_similar_products_name_what_they_share(system: Stack) -> None:
    answer = await system.answer("/similar", product_id="p0", k=40, include=["reasons", "products"])
    for product, reason in zip(answer["products"], answer["reasons"], strict=True):
        assert ("category" in reason["attributes"]) == (product["category"] == "مجوهرات")
    # p16 is a silver ring of the same category, p4 a gold chain
    reasons = dict(zip(answer["product_ids"], answer["reasons"], strict=True))
    assert "ذهب" in reasons["p4"]["words"]


async def test_a_search_names_the_words_that_a_product_holds(system: Stack) -> None:
    answer = await system.answer("/search", q="خاتم ذهب", k=40, include=["reasons", "products"])
    for product, reason in zip(answer["products"], answer["reasons"], strict=True):
        assert ("ذهب" in reason["words"]) == ("ذهب" in product["title"].split())
    assert answer["reasons"][0]["sentence"]["ar"] == "يطابق من بحثك: خاتم، ذهب"


async def test_an_unknown_part_is_refused(system: Stack) -> None:
    response = await system.get("/retrieve", buyer_id="gold", include=["reasons", "prices"])
    assert response.status_code == 422 and "prices" in response.text


RING, OIL, CHAIN = "خاتم ذهب", "زيت محرك", "سلسال ذهب"


@pytest.mark.parametrize(
    ("causes", "arabic", "english"),
    [
        ([("Purchase", RING)], "لأنك اشتريت «خاتم ذهب»", "Because you bought “خاتم ذهب”"),
        (
            [("View", RING), ("View", CHAIN)],
            "لأنك شاهدت «خاتم ذهب» و«سلسال ذهب»",
            "Because you viewed “خاتم ذهب” and “سلسال ذهب”",
        ),
        (
            [("Purchase", RING), ("AddToCart", OIL)],
            "لأنك اشتريت «خاتم ذهب» وأضفت «زيت محرك» إلى السلة",
            "Because you bought “خاتم ذهب” and you added “زيت محرك” to your cart",
        ),
        (
            [("View", RING), ("View", CHAIN), ("View", OIL)],
            "لأنك شاهدت «خاتم ذهب» و«سلسال ذهب» ومنتجًا آخر",
            "Because you viewed “خاتم ذهب”, “سلسال ذهب” and 1 other product",
        ),
        (
            [("AddToCart", RING), ("AddToCart", CHAIN), ("View", OIL), ("View", OIL)],
            "لأنك أضفت «خاتم ذهب» و«سلسال ذهب» ومنتجين آخرين إلى السلة",
            "Because you added “خاتم ذهب”, “سلسال ذهب” and 2 other products to your cart",
        ),
        ([("Wish", RING)], "لأنك أبديت اهتمامًا بـ«خاتم ذهب»", "Because you showed interest in “خاتم ذهب”"),
    ],
)
async def test_sentences_agree_in_event_and_number(causes: list[tuple[str, str]], arabic: str, english: str) -> None:
    found = sentences.because([Cause(*one) for one in causes])
    # Arabic titles are isolated in English
    assert found == Sentence(arabic, english.replace("“", "“\u2068").replace("”", "\u2069”"))


async def test_names_of_the_other_direction_are_isolated_in_a_sentence() -> None:
    phone, ring = "iPhone 15 (128GB)", "خاتم ذهب عيار 18"
    found = sentences.because([Cause("View", phone), Cause("View", ring)])
    assert found == Sentence(
        f"لأنك شاهدت «\u2068{phone}\u2069» و«{ring}»", f"Because you viewed “{phone}” and “\u2068{ring}\u2069”"
    )
    assert sentences.after(phone).ar == f"كثيرًا ما يُختار بعد «\u2068{phone}\u2069»"
    assert sentences.matched(["oud", "عود"]) == Sentence(
        "يطابق من بحثك: \u2068oud\u2069، عود", "Matches your search: oud, \u2068عود\u2069"
    )
    shared = sentences.shared({"brand": "LG"}, ["18"])
    assert shared == Sentence("العلامة نفسها (\u2068LG\u2069)؛ كلمات مشتركة: 18", "Same brand (LG); shared words: 18")
