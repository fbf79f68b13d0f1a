"""Every call of the gateway, over HTTP, with answers checked against numpy on the version's own files."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
import pytest_asyncio

from gateway.schemas.answers import (
    EncodeBuyerAnswer,
    InteractionsAnswer,
    ListAnswer,
    ReadyAnswer,
    SearchAnswer,
    SuggestAnswer,
)
from tests.helpers.redis_server import RedisServer
from tests.helpers.stack import Reference, Stack, as_json, check_list, event, stack
from tests.helpers.tiny_version import build_version
from twotower.artifact.layout import Layout
from twotower.artifact.version import open_version
from twotower.graphs.text_encoder import TextEncoder

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tiny: Path, redis: RedisServer) -> AsyncIterator[Stack]:
    async with stack(tiny, redis) as running:
        yield running


@pytest.fixture(scope="module")
def reference(tiny: Path) -> Reference:
    return Reference(tiny, "tiny-a")


@pytest.fixture
def buyer() -> str:
    """A buyer whom nobody has seen before."""
    return f"مشترٍ {uuid4().hex}"


HISTORY = [event("p4", "View", 30), event("p8", "AddToCart", 20), event("p12", "Purchase", 10), event("p0", "View")]


async def test_encode_buyer_gives_the_towers_vector(system: Stack, reference: Reference, buyer: str) -> None:
    response = await system.post("/encode_buyer", {"buyer_id": buyer, "recent_interactions": as_json(HISTORY)})
    assert response.status_code == 200
    answer = response.json()
    EncodeBuyerAnswer.model_validate(answer, strict=True)
    np.testing.assert_allclose(answer["buyer_embedding"], reference.buyer(HISTORY), atol=1e-5)
    assert np.linalg.norm(answer["buyer_embedding"]) == pytest.approx(1.0, abs=1e-5)
    assert answer["dimension"] == len(answer["buyer_embedding"]) == 8
    assert (answer["model_version"], answer["source"]) == ("tiny-a", "interactions")
    assert (answer["used"], answer["stored"], answer["unknown_product_ids"]) == (4, 4, [])
    assert answer["warnings"] == []
    assert answer["request_id"] == response.headers["x-request-id"]


async def test_retrieve_encodes_what_encode_buyer_stored(system: Stack, reference: Reference, buyer: str) -> None:
    await system.post("/encode_buyer", {"buyer_id": buyer, "recent_interactions": as_json(HISTORY)})
    answer = await system.answer("/retrieve", buyer_id=buyer)
    ListAnswer.model_validate(answer, strict=True)
    check_list(answer, reference.best(reference.buyer(HISTORY), 10))
    assert (answer["source"], answer["model_version"], answer["warnings"]) == ("model", "tiny-a", [])


async def test_encode_buyer_is_stateless_and_retrieve_is_not(system: Stack, reference: Reference, buyer: str) -> None:
    first, second = HISTORY[:2], HISTORY[2:]
    await system.post("/encode_buyer", {"buyer_id": buyer, "recent_interactions": as_json(first)})
    response = await system.post("/encode_buyer", {"buyer_id": buyer, "recent_interactions": as_json(second)})
    np.testing.assert_allclose(response.json()["buyer_embedding"], reference.buyer(second), atol=1e-5)
    check_list(await system.answer("/retrieve", buyer_id=buyer), reference.best(reference.buyer(HISTORY), 10))


async def test_white_space_around_ids_is_no_part_of_them(system: Stack, reference: Reference, buyer: str) -> None:
    """As in the training's files: one buyer has one history, and a product is the one of the catalogue."""
    rows = [{**row, "product_id": f" {row['product_id']}\u00a0"} for row in as_json(HISTORY)]
    answer = (await system.post("/encode_buyer", {"buyer_id": f"{buyer} ", "recent_interactions": rows})).json()
    assert (answer["buyer_id"], answer["used"], answer["unknown_product_ids"]) == (buyer, 4, [])
    check_list(await system.answer("/retrieve", buyer_id=buyer), reference.best(reference.buyer(HISTORY), 10))
    last = {"buyer_id": f"\u3000{buyer}", "product_id": "p1 ", "event_type": "View", "timestamp": "2025-10-09"}
    assert (await system.post("/interactions", last)).json()["stored"] == 1
    allowed = [one for one in reference.ids if one not in {"p4", "p8", "p12", "p0", "p1"}]
    seen = await system.answer("/retrieve", buyer_id=f"{buyer}\t", k=40, exclude_seen="true")
    assert sorted(seen["product_ids"]) == sorted(allowed)
    similar = await system.answer("/similar", product_id=" p7", k=38, exclude="p8 ")
    assert set(similar["product_ids"]) == set(reference.ids) - {"p7", "p8"}


async def test_the_order_of_interactions_and_the_form_of_times_do_not_matter(system: Stack, buyer: str) -> None:
    rows = as_json(HISTORY)
    forms = [
        "2025-10-08T02:53:20Z",
        "2025-10-08T15:53:20+03:00",
        "2025-10-08 22:53:20",
        HISTORY[3].timestamp_ms / 1000,
    ]
    other = [{**row, "timestamp": form} for row, form in zip(rows, forms, strict=True)]
    one = await system.post("/encode_buyer", {"buyer_id": buyer, "recent_interactions": rows})
    before = await system.answer("/retrieve", buyer_id=buyer)
    two = await system.post("/encode_buyer", {"buyer_id": buyer, "recent_interactions": other[::-1]})
    after = await system.answer("/retrieve", buyer_id=buyer)
    assert one.json()["buyer_embedding"] == two.json()["buyer_embedding"]
    # the same events in another dress are the same events: the history did not grow
    assert (before["product_ids"], before["scores"]) == (after["product_ids"], after["scores"])


async def test_unknown_products_are_skipped_named_and_kept_for_a_version_that_knows_them(
    system: Stack, reference: Reference, buyer: str
) -> None:
    rows = as_json([*HISTORY, event("new-1", "View", 1), event("new-2", "Purchase", 2)])
    answer = (await system.post("/encode_buyer", {"buyer_id": buyer, "recent_interactions": rows})).json()
    assert sorted(answer["unknown_product_ids"]) == ["new-1", "new-2"]
    assert (answer["used"], answer["stored"]) == (4, 6)
    np.testing.assert_allclose(answer["buyer_embedding"], reference.buyer(HISTORY), atol=1e-5)


@pytest.mark.parametrize("wish", ["Wish", "View: no"])
async def test_an_event_that_only_the_gateway_knows_is_named_with_its_row(tiny: Path, wish: str) -> None:
    """As between a gateway's new setting and the training that first has the event."""
    names = ["View", "AddToCart", "Purchase", wish]
    with RedisServer() as redis:
        async with stack(tiny, redis, event_types=",".join(names)) as system:
            rows = as_json([*HISTORY, event("p1", wish, 5), event("p2", wish)])
            response = await system.post("/encode_buyer", {"buyer_id": "b", "recent_interactions": rows})
            assert response.status_code == 422
            document = response.json()
            assert (document["field"], document["value"]) == ("recent_interactions[4].event_type", repr(wish))
            assert document["problem"] == "unknown event name; known: View, AddToCart, Purchase"
            assert (await system.answer("/retrieve", buyer_id="b"))["source"] == "popular"


async def test_a_history_of_unknown_products_alone_is_refused_and_not_stored(system: Stack, buyer: str) -> None:
    rows = as_json([event("new-1"), event("new-2")])
    response = await system.post("/encode_buyer", {"buyer_id": buyer, "recent_interactions": rows})
    assert response.status_code == 422
    assert response.json()["field"] == "recent_interactions"
    assert "new-1" in response.json()["detail"]
    assert "nothing was stored" in response.json()["detail"]
    assert (await system.answer("/retrieve", buyer_id=buyer))["source"] == "popular"


async def test_a_repeated_interaction_counts_once(system: Stack, reference: Reference, buyer: str) -> None:
    rows = as_json([*HISTORY, HISTORY[0], HISTORY[0]])
    answer = (await system.post("/encode_buyer", {"buyer_id": buyer, "recent_interactions": rows})).json()
    np.testing.assert_allclose(answer["buyer_embedding"], reference.buyer(HISTORY), atol=1e-5)
    assert answer["stored"] == 4
    assert answer["warnings"] == ["4 of 6 interactions count: the latest, each once"]


async def test_only_the_latest_interactions_count(system: Stack, reference: Reference, buyer: str) -> None:
    events = [event(f"p{number % 40}", "View", 100 - number) for number in range(80)]
    answer = (await system.post("/encode_buyer", {"buyer_id": buyer, "recent_interactions": as_json(events)})).json()
    # 50 are kept by the gateway, and of these the model takes 20
    assert (answer["stored"], answer["used"]) == (50, 20)
    np.testing.assert_allclose(answer["buyer_embedding"], reference.buyer(events[-20:]), atol=1e-5)


async def test_a_buyer_without_history_gets_the_popular_products(
    system: Stack, reference: Reference, buyer: str
) -> None:
    answer = await system.answer("/retrieve", buyer_id=buyer, k=5)
    ListAnswer.model_validate(answer, strict=True)
    check_list(answer, reference.popular(5))
    assert (answer["source"], answer["warnings"], answer["model_version"]) == ("popular", [], "tiny-a")


async def test_fallback_none_turns_popular_into_404(system: Stack, buyer: str) -> None:
    response = await system.get("/retrieve", buyer_id=buyer, fallback="none")
    assert response.status_code == 404
    assert response.json()["field"] == "buyer_id"
    assert buyer in response.json()["detail"]
    await system.post("/interactions", {"buyer_id": buyer, **as_json([event("unheard-of")])[0]})
    assert (await system.get("/retrieve", buyer_id=buyer, fallback="none")).status_code == 404


async def test_exclude_seen_leaves_out_the_history(system: Stack, reference: Reference, buyer: str) -> None:
    await system.post("/encode_buyer", {"buyer_id": buyer, "recent_interactions": as_json(HISTORY)})
    seen = {one.product_id for one in HISTORY}
    allowed = [one for one in reference.ids if one not in seen]
    answer = await system.answer("/retrieve", buyer_id=buyer, k=40, exclude_seen="true")
    check_list(answer, reference.best(reference.buyer(HISTORY), 36, allowed))


async def test_exclude_seen_leaves_the_history_out_of_the_popular_ones_too(
    system: Stack, reference: Reference, buyer: str
) -> None:
    most_popular = next(iter(reference.popular(1)))
    answer = await system.answer("/retrieve", buyer_id=buyer, exclude=[most_popular, "nothing"], k=3)
    check_list(answer, reference.popular(3, [most_popular]))


@pytest.mark.parametrize("path", ["/retrieve", "/similar", "/search"])
async def test_filters_and_exclusions(system: Stack, reference: Reference, buyer: str, path: str) -> None:
    subject = {"/retrieve": {"buyer_id": buyer}, "/similar": {"product_id": "p1"}, "/search": {"q": "خاتم"}}[path]
    await system.post("/encode_buyer", {"buyer_id": buyer, "recent_interactions": as_json(HISTORY)})
    wanted = {"category": ["عطور", "تمور", "زهور"], "in_stock": "true", "exclude": ["p5", "p9"], "k": 100}
    answer = await system.answer(path, **subject, **wanted)
    allowed = {
        one.id
        for one in reference.products.values()
        if one.category in {"عطور", "تمور"} and one.in_stock and one.id not in {"p5", "p9"}
    } - ({"p1"} if path == "/similar" else set())
    assert set(answer["product_ids"]) == allowed
    assert answer["warnings"] == ["no product has category=زهور"]
    assert answer["scores"] == sorted(answer["scores"], reverse=True)
    nothing = await system.answer(path, **subject, brand="لا أحد")
    assert nothing["product_ids"] == nothing["scores"] == []
    assert nothing["warnings"] == ["no product has brand=لا أحد"]


@pytest.mark.parametrize("path", ["/retrieve", "/similar", "/search"])
async def test_a_diverse_list_is_chosen_from_four_times_as_many(system: Stack, buyer: str, path: str) -> None:
    subject = {"/retrieve": {"buyer_id": buyer}, "/similar": {"product_id": "p1"}, "/search": {"q": "خاتم"}}[path]
    await system.post("/encode_buyer", {"buyer_id": buyer, "recent_interactions": as_json(HISTORY)})
    best = await system.answer(path, **subject, k=20)
    assert (await system.answer(path, **subject, k=5, diversity="0"))["product_ids"] == best["product_ids"][:5]
    answer = await system.answer(path, **subject, k=5, diversity="0.7")
    (SearchAnswer if path == "/search" else ListAnswer).model_validate(answer, strict=True)
    assert answer["product_ids"][0] == best["product_ids"][0] and len(set(answer["product_ids"])) == 5
    assert answer["product_ids"] != best["product_ids"][:5] and (answer["source"], answer["warnings"]) == ("model", [])
    scores = dict(zip(best["product_ids"], best["scores"], strict=True))
    np.testing.assert_allclose(answer["scores"], [scores[one] for one in answer["product_ids"]], atol=1e-6)


async def test_popular_products_say_that_they_are_not_diverse(system: Stack, reference: Reference, buyer: str) -> None:
    answer = await system.answer("/retrieve", buyer_id=buyer, k=5, diversity="0.5")
    check_list(answer, reference.popular(5))
    assert answer["warnings"] == ["diversity has no effect on popular products"]


async def test_include_products_says_what_they_are(system: Stack, reference: Reference) -> None:
    answer = await system.answer("/similar", product_id="p1", k=40, include="products")
    ListAnswer.model_validate(answer, strict=True)
    assert [one["product_id"] for one in answer["products"]] == answer["product_ids"]
    for found in answer["products"]:
        wanted = reference.products[found["product_id"]]
        assert (found["title"], found["brand"], found["category"]) == (wanted.title, wanted.brand, wanted.category)
        assert (found["price"], found["currency"], found["in_stock"]) == (wanted.price, "SAR", wanted.in_stock)
        assert found["image"] == (wanted.image or None)
    assert any(one["price"] is None for one in answer["products"])


async def test_similar_is_the_nearest_but_itself(system: Stack, reference: Reference) -> None:
    answer = await system.answer("/similar", product_id="p7", k=5)
    allowed = [one for one in reference.ids if one != "p7"]
    check_list(answer, reference.best(reference.vectors[7], 5, allowed))
    assert answer["source"] == "model"


async def test_similar_to_an_unknown_product_is_404(system: Stack) -> None:
    response = await system.get("/similar", product_id="لا شيء")
    assert response.status_code == 404
    assert response.json()["field"] == "product_id"
    assert "لا شيء" in response.json()["detail"]


async def test_what_is_like_a_product_of_which_nothing_is_known_comes_with_a_warning(
    tmp_path: Path, redis: RedisServer
) -> None:
    build_version(tmp_path, "blank", blank=True)
    async with stack(tmp_path, redis) as system:
        answer = await system.answer("/similar", product_id="p0", k=3)
        assert (answer["product_ids"], answer["scores"]) == (["p1", "p2", "p3"], [0, 0, 0])
        assert answer["warnings"] == ["product 'p0' has no content and no events to compare"]
        assert (await system.answer("/similar", product_id="p1", k=3))["warnings"] == []


async def test_search_finds_the_products_that_match_by_text_and_words(
    system: Stack, reference: Reference, tiny: Path
) -> None:
    version = open_version(Layout(tiny), "tiny-a")
    text = TextEncoder.load(version.encoder, 1).encode(["خاتم ذهب"])[0]
    answer = await system.answer("/search", q="خاتم ذهب", k=7)
    check_list(answer, reference.matching(text, "خاتم ذهب", 7))
    assert answer["warnings"] == []


async def test_signs_around_the_words_change_nothing(system: Stack, reference: Reference) -> None:
    for ident in ("p0", "p12", "p39"):  # without a description: their title is their text
        title = reference.products[ident].title
        plain = await system.answer("/search", q=title, k=10, understand="false")
        # the cosine is 1, and words count at least the weight of .3 and a little less for those that all titles hold
        assert plain["scores"][plain["product_ids"].index(ident)] > 1.2
        for asked in (f"«{title}»؟", "#" + title.replace(" ", "_"), f"✨ {title} ✨!!"):
            answer = await system.answer("/search", q=asked, k=10, understand="false")
            assert (answer["product_ids"], answer["scores"]) == (plain["product_ids"], plain["scores"]), asked


async def test_search_filters_and_excludes_as_every_list_does(system: Stack, reference: Reference, tiny: Path) -> None:
    version = open_version(Layout(tiny), "tiny-a")
    text = TextEncoder.load(version.encoder, 1).encode(["زيت"])[0]
    every = list(reference.matching(text, "زيت", 40))
    answer = await system.answer("/search", q="زيت", k=4, category="تمور", exclude=every[:5], in_stock="true")
    wanted = [ident for ident in every[5:] if (one := reference.products[ident]).category == "تمور" and one.in_stock]
    assert answer["product_ids"] == wanted[:4]


@pytest.mark.parametrize("typed", ["p12", " p12\u00a0", "#p12", "\u200fp12", "«p12»"])
async def test_a_search_for_a_products_id_finds_it_first(system: Stack, typed: str) -> None:
    answer = await system.answer("/search", q=typed, k=5, include="products")
    ids, scores = answer["product_ids"], answer["scores"]
    assert (ids[0], answer["products"][0]["product_id"], len(set(ids))) == ("p12", "p12", 5)
    assert scores[0] >= 1 and scores == sorted(scores, reverse=True)
    assert answer["warnings"] == []


@pytest.mark.parametrize("typed", ["SKU-0012", " sku-0012\u200f", "6280000000012", "#٦٢٨٠٠٠٠٠٠٠٠١٢"])
async def test_a_search_for_a_products_sku_finds_it_first(system: Stack, typed: str) -> None:
    answer = await system.answer("/search", q=typed, k=5, include="products")
    assert answer["product_ids"][0] == answer["products"][0]["product_id"] == "p12"
    assert (answer["warnings"], len(set(answer["product_ids"]))) == ([], 5)
    assert "p12" not in (await system.answer("/search", q=typed, k=40, exclude="p12"))["product_ids"]


async def test_a_product_that_is_named_passes_the_filters_or_is_left_out(system: Stack, reference: Reference) -> None:
    product = reference.products["p12"]
    other = next(one.category for one in reference.products.values() if one.category != product.category)
    stock = {True: "true", False: "false"}
    kept = {"category": product.category, "brand": product.brand, "in_stock": stock[product.in_stock]}
    assert (await system.answer("/search", q="p12", k=1, **kept))["product_ids"] == ["p12"]
    for query in (
        {"category": other},
        {"brand": "no such brand"},
        {"in_stock": stock[not product.in_stock]},
        {"exclude": "p12"},
    ):
        assert "p12" not in (await system.answer("/search", q="p12", k=40, **query))["product_ids"], query


async def test_an_id_with_signs_is_found_as_it_is_written(tmp_path: Path, redis: RedisServer) -> None:
    build_version(tmp_path, "signs", ids={"p3": "SKU_7/#2", "p4": "خاتم 9"})
    async with stack(tmp_path, redis, without=("buyer",)) as system:
        for ident in ("SKU_7/#2", "خاتم 9"):
            assert (await system.answer("/search", q=ident, k=2))["product_ids"][0] == ident


async def test_words_that_no_product_reads_like_are_answered_with_a_warning(tmp_path: Path, redis: RedisServer) -> None:
    # whatever is asked for, the best score is below 3
    build_version(tmp_path, "deaf", noise_with_words=3.0)
    async with stack(tmp_path, redis) as system:
        answer = await system.answer("/search", q="asdfgh", k=3)
    assert len(answer["product_ids"]) == 3
    assert answer["warnings"] == ["no product matches 'asdfgh': these are no nearer than to words that no product has"]


@pytest.mark.parametrize("path", ["/retrieve", "/similar", "/search", "/popular"])
async def test_price_limits_and_order(system: Stack, reference: Reference, buyer: str, path: str) -> None:
    subject = {"/retrieve": {"buyer_id": buyer}, "/similar": {"product_id": "p1"}, "/search": {"q": "خاتم"}}.get(
        path, {}
    )
    await system.post("/encode_buyer", {"buyer_id": buyer, "recent_interactions": as_json(HISTORY)})
    price = {one.id: one.price for one in reference.products.values()}
    within = {"price_min": "20", "price_max": "31.5"}
    answer = await system.answer(path, **subject, **within, k=100)
    limited = {one for one, amount in price.items() if amount is not None and 20 <= amount <= 31.5}
    assert set(answer["product_ids"]) == limited
    rising = await system.answer(path, **subject, **within, k=5, sort="price_asc")
    assert sorted(answer["product_ids"][:5], key=lambda one: price[one] or 0.0) == rising["product_ids"]
    falling = await system.answer(path, **subject, **within, k=5, sort="price_desc")
    assert falling["product_ids"] == rising["product_ids"][::-1]


async def test_a_search_says_how_it_was_understood(system: Stack, reference: Reference) -> None:
    answer = await system.answer("/search", q="ohjl f],k tqm hrg lk 30 vdhg", k=50)
    SearchAnswer.model_validate(answer, strict=True)
    understood = answer["understood"]
    assert (answer["rewritten"], understood["text"]) == ("خاتم", "خاتم")
    assert understood["original"] == "ohjl f],k tqm hrg lk 30 vdhg"
    assert [change["step"] for change in understood["changes"]] == ["layout", "price", "negation"]
    assert (understood["price_min"], understood["price_max"]) == (None, 30)
    assert "فضه" in understood["excluded_words"]
    found = [reference.products[ident] for ident in answer["product_ids"]]
    allowed = [one for one in reference.products.values() if (one.price or 99) <= 30 and "فضة" not in one.title]
    assert sorted(one.id for one in found) == sorted(one.id for one in allowed) and allowed


async def test_a_narrower_limit_of_the_caller_counts(system: Stack) -> None:
    answer = await system.answer("/search", q="خاتم بين 15 و40", price_max="30", include="products", k=50)
    prices = [product["price"] for product in answer["products"]]
    assert min(prices) == 15 and max(prices) == 30


async def test_a_filter_that_leaves_nothing_is_named(system: Stack) -> None:
    answer = await system.answer("/search", q="خاتم تحت 5 ريال")
    assert answer["product_ids"] == []
    assert answer["warnings"] == [
        "no product is left by 'تحت 5 ريال' of 'خاتم تحت 5 ريال'; understand=false searches without such filters"
    ]


async def test_a_search_that_is_not_understood_has_no_filters(system: Stack) -> None:
    answer = await system.answer("/search", q="خاتم تحت 5 ريال", understand="false", k=3)
    assert len(answer["product_ids"]) == 3 and answer["rewritten"] is None
    assert (answer["understood"]["text"], answer["understood"]["changes"]) == ("خاتم تحت 5 ريال", [])


async def test_completions(system: Stack) -> None:
    answer = await system.answer("/suggest", q="خا", k=1)
    SuggestAnswer.model_validate(answer, strict=True)
    assert answer["suggestions"] == [{"text": "خاتم", "kind": "phrase", "products": 4}]
    assert answer["model_version"] == "tiny-a"
    assert (await system.answer("/suggest", q="qqqq"))["suggestions"] == []
    for name, value in (("q", "!!"), ("k", "0"), ("k", "101"), ("buyer_id", "b1")):
        refused = await system.get("/suggest", **{"q": "خا", name: value})
        assert (refused.status_code, refused.json()["field"]) == (422, name)


@pytest.mark.parametrize("q", ["!!!", "؟؟", "\u0640\u0640", "😀", "-", "«»", "_"])
async def test_a_search_without_a_letter_or_digit_is_refused(system: Stack, q: str) -> None:
    response = await system.get("/search", q=q)
    assert response.status_code == 422
    assert (response.json()["field"], response.json()["value"]) == ("q", repr(q))
    assert "must hold a letter or a digit" in response.json()["detail"]


async def test_interactions_one_and_many(system: Stack, reference: Reference, buyer: str) -> None:
    one, *others = as_json(HISTORY)
    response = await system.post("/interactions", {"buyer_id": buyer, **one})
    assert response.status_code == 200
    InteractionsAnswer.model_validate(response.json(), strict=True)
    assert response.json()["stored"] == 1
    rows = [{"buyer_id": buyer, **row} for row in [*others, one]] + [{"buyer_id": f"{buyer}2", **one}]
    assert (await system.post("/interactions", {"interactions": rows})).json()["stored"] == 5
    check_list(await system.answer("/retrieve", buyer_id=buyer), reference.best(reference.buyer(HISTORY), 10))
    check_list(await system.answer("/retrieve", buyer_id=f"{buyer}2"), reference.best(reference.buyer(HISTORY[:1]), 10))


async def test_one_bad_row_keeps_all_rows_out(system: Stack, buyer: str) -> None:
    rows = [{"buyer_id": buyer, **row} for row in as_json(HISTORY)]
    rows[2]["event_type"] = "Wish"
    response = await system.post("/interactions", {"interactions": rows})
    assert response.status_code == 422
    assert response.json()["field"] == "interactions[2].event_type"
    assert (await system.answer("/retrieve", buyer_id=buyer))["source"] == "popular"


async def test_k_is_taken_up_to_a_thousand_and_never_gives_more_than_there_is(system: Stack) -> None:
    for k, wanted in ((1, 1), (10, 10), (1000, 39)):
        answer = await system.answer("/similar", product_id="p0", k=k)
        assert len(answer["product_ids"]) == len(answer["scores"]) == wanted
        assert len(set(answer["product_ids"])) == wanted


async def test_a_caller_keeps_its_request_id(system: Stack) -> None:
    headers = {"X-Request-ID": "caller-7/8"}
    response = await system.client.get("/similar", params={"product_id": "p0"}, headers=headers)
    assert response.headers["x-request-id"] == response.json()["request_id"] == "caller-7/8"
    problem = await system.client.get("/similar", headers=headers)
    assert problem.headers["x-request-id"] == problem.json()["request_id"] == "caller-7/8"


@pytest.mark.parametrize("given", ["", "two words", "x" * 129, "tab\there", "é".encode()])
async def test_an_unusable_request_id_is_replaced(system: Stack, given: str | bytes) -> None:
    response = await system.client.get("/healthz", headers={"X-Request-ID": given})
    assert len(response.headers["x-request-id"]) == 32


async def test_the_process_is_alive_and_ready(system: Stack) -> None:
    assert (await system.get("/healthz")).json() == {"status": "alive"}
    response = await system.get("/readyz")
    assert response.status_code == 200
    assert response.json() == {
        "status": "ready",
        "dependencies": dict.fromkeys(("retrieval", "buyer", "item", "redis"), "ok"),
        "degraded": [],
    }


async def test_metrics_count_requests_by_route(system: Stack) -> None:
    await system.get("/nothing/here")
    text = (await system.get("/metrics")).text
    assert 'twotower_http_seconds_count{route="/retrieve",status="200"}' in text
    assert 'twotower_http_seconds_count{route="other",status="404"}' in text
    assert "nothing/here" not in text
    assert 'twotower_batch_calls_count{batcher="buyer service"}' in text


async def test_docs_describe_every_call(system: Stack) -> None:
    assert "swagger" in (await system.get("/docs")).text.lower()
    described = (await system.get("/openapi.json")).json()
    wanted = ("/retrieve", "/encode_buyer", "/similar", "/search", "/popular", "/suggest")
    wanted += ("/again", "/trending")
    wanted += ("/together", "/complete")
    wanted += ("/interactions", "/healthz", "/readyz", "/history", "/products", "/products/{product_id}", "/map")
    wanted += ("/rules", "/rules/history", "/rules/undo", "/rules/preview")
    wanted += ("/versions", "/versions/{version}/report", "/versions/{version}/publish")
    wanted += (
        "/versions/{version}/retrieve",
        "/versions/{version}/search",
        "/experiments",
        "/searches",
        "/buyers",
        "/audience",
    )
    assert set(described["paths"]) == {*wanted, "/buyers/{buyer_id}", "/buyers/{buyer_id}/merge", "/metrics"}
    names = [one["name"] for one in described["paths"]["/retrieve"]["get"]["parameters"]]
    assert {"buyer_id", "k", "exclude_seen", "fallback", "include", "category", "brand"} <= set(names)
    body = described["paths"]["/encode_buyer"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body["$ref"].rsplit("/", 1)[-1] in described["components"]["schemas"]


async def test_docs_name_the_failures_of_each_call_and_no_others(system: Stack) -> None:
    described = (await system.get("/openapi.json")).json()
    calls = {path: next(iter(methods.values())) for path, methods in described["paths"].items()}
    for path in ("/retrieve", "/similar", "/search", "/encode_buyer", "/interactions", "/buyers/{buyer_id}"):
        responses = calls[path]["responses"]
        assert set(responses) == {"200", "401", "403", "429", "4XX", "503", "504"}, path
        for status in ("4XX", "503", "504"):
            assert responses[status]["content"] == {
                "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}
            }
        assert set(responses["503"]["headers"]) == {"Retry-After"}
    assert set(calls["/healthz"]["responses"]) == {"200"}
    assert set(calls["/metrics"]["responses"]) == {"200", "401", "403", "429"}
    assert set(calls["/readyz"]["responses"]) == {"200", "503"}


async def test_docs_describe_what_readyz_answers_ready_or_not(system: Stack) -> None:
    described = (await system.get("/openapi.json")).json()
    responses = described["paths"]["/readyz"]["get"]["responses"]
    wanted = {"application/json": {"schema": {"$ref": "#/components/schemas/ReadyAnswer"}}}
    assert [responses[status]["content"] for status in ("200", "503")] == [wanted, wanted]
    properties = set(described["components"]["schemas"]["ReadyAnswer"]["properties"])
    assert properties == {"status", "dependencies", "degraded"}
    ReadyAnswer.model_validate((await system.get("/readyz")).json(), strict=True)


async def test_head_is_answered_where_get_is(system: Stack) -> None:
    response = await system.client.head("/healthz")
    assert (response.status_code, response.content) == (200, b"")
