"""What rules make of lists, on a tiny version: products p0 to p39, four categories and brands in turn."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.clients.answers import Hits
from gateway.rules.engine import Ruled
from gateway.rules.plans import exclusion
from tests.helpers.plain_rules import plain_list
from tests.helpers.rules import Shelf, holds, numbered
from tests.helpers.tiny_version import BRANDS, CATEGORIES, NOON
from twotower.artifact.catalogue import Product
from twotower.live.records import State
from twotower.pb import retrieval_pb2
from twotower.serving import wire

JEWELLERY, PERFUME, CARS, DATES = CATEGORIES
SORTS = {"price_asc": retrieval_pb2.PRICE_ASC, "price_desc": retrieval_pb2.PRICE_DESC}
# days since the first product was first seen
OLDEST = (time.time() - NOON / 1000) / 86_400


@pytest.fixture(scope="module")
def shelf(tiny: Path) -> Shelf:
    """With a few changes of the live catalogue: p5 hidden, p6 deleted, p7 in another category, n1 and n2 new."""
    found = Shelf(tiny)
    whole = {"title": "خاتم", "brand": BRANDS[0], "category": JEWELLERY, "price": 15.0}
    found.change(
        State("p5", 1, {}, is_hidden=True),
        State("p6", 2, {}, is_deleted=True),
        State("p7", 3, {"category": PERFUME}),
        State("p8", 4, {"price": 500.0}),
        State("n1", 5, whole, is_whole=True),
        State("n2", 6, {**whole, "brand": "علامة جديدة"}, is_whole=True),
    )
    return found


def query(k: int = 10, **fields: Any) -> retrieval_pb2.Query:
    return retrieval_pb2.Query(k=k, **fields)


def ids(found: Ruled | Hits) -> list[str]:
    hits = found.hits if isinstance(found, Ruled) else found
    return wire.unpack_ids(hits.packed_ids)


async def test_an_exclusion_leaves_a_full_list_of_the_next_best(shelf: Shelf) -> None:
    rule = {"do": "exclude", "when": f'category in ["{JEWELLERY}", "{PERFUME}"]'}
    found = ids(await shelf.ruled([rule], query(10)))
    best = [one for one in ids(await shelf.search(query(100))) if shelf.products[one].category in (CARS, DATES)]
    assert found == best[:10]


async def test_an_exclusion_of_nearly_everything_is_exact(shelf: Shelf) -> None:
    kept = ["p1", "p30", "n2"]
    rule = {"do": "exclude", "when": f"product_id not in {kept}".replace("'", '"')}
    assert sorted(ids(await shelf.ruled([rule], query(10)))) == sorted(kept)
    assert sorted(ids(await shelf.ruled([rule], query(10), popular=True))) == sorted(kept)


async def test_more_is_asked_only_if_the_first_answer_does_not_do(shelf: Shelf) -> None:
    rules = [{"do": "exclude", "when": 'product_id = "p1"'}, {"do": "boost", "when": f'brand = "{BRANDS[0]}"'}]
    await shelf.ruled(rules, query(5))
    assert len(shelf.asked) == 1


async def test_a_pin_stands_at_its_place_and_no_product_twice(shelf: Shelf) -> None:
    worst = ids(await shelf.search(query(100)))[-1]
    found = await shelf.ruled([{"name": "eid", "do": "pin", "product_id": worst, "place": 3}], query(6))
    plain = [one for one in ids(await shelf.search(query(10))) if one != worst]
    assert ids(found) == [*plain[:2], worst, *plain[2:5]] and found.placed_by == {worst: "eid"}


@pytest.mark.parametrize("gone", ["p5", "p6", "nobody"])
async def test_what_is_hidden_or_deleted_comes_back_through_no_rule(shelf: Shelf, gone: str) -> None:
    rules = [
        {"do": "pin", "product_id": gone},
        {"do": "include", "when": f'product_id = "{gone}"', "n": 1},
        {"do": "boost", "when": f'product_id = "{gone}"', "factor": 100},
    ]
    assert ids(await shelf.ruled(rules, query(8))) == ids(await shelf.search(query(8)))


async def test_a_pin_passes_the_callers_filters_or_is_left_out(shelf: Shelf) -> None:
    rules = [{"do": "pin", "product_id": "p9", "place": 1}]  # perfume
    assert ids(await shelf.ruled(rules, query(4)))[0] == "p9"
    for limits in (
        {"filter": retrieval_pb2.Filter(categories=[CARS])},
        {"excluded_ids": ["p9"]},
        {"filter": retrieval_pb2.Filter(price_max=15.0)},
    ):
        found = ids(await shelf.ruled(rules, query(4, **limits)))
        assert "p9" not in found and found == ids(await shelf.search(query(4, **limits)))


async def test_the_callers_sort_is_the_order_of_the_list(shelf: Shelf) -> None:
    dear = max(shelf.products.values(), key=lambda one: one.price or 0.0).id
    rules = [{"do": "pin", "product_id": dear, "place": 1}, {"do": "boost", "when": "price > 40", "factor": 5}]
    found = ids(await shelf.ruled(rules, query(8, sort=retrieval_pb2.PRICE_ASC)))
    prices = [shelf.products[one].price or 1e9 for one in found]
    assert prices == sorted(prices) and found[-1] == dear and len(found) == 8


async def test_a_boost_moves_up_and_a_burial_moves_behind_all_others(shelf: Shelf) -> None:
    plain = ids(await shelf.search(query(40)))
    score = dict(zip(plain, (await shelf.search(query(40))).scores.tolist(), strict=True))
    chosen = plain[3]
    found = await shelf.ruled([{"do": "boost", "when": f'product_id = "{chosen}"', "factor": 2}], query(10))
    right = sorted(plain, key=lambda one: -(2 * score[one] if one == chosen else score[one]))
    assert ids(found) == right[:10] and found.placed_by == {chosen: "0"}
    # the score that is shown is the model's own
    assert dict(zip(ids(found), found.hits.scores.tolist(), strict=True))[chosen] == pytest.approx(score[chosen])
    buried = await shelf.ruled([{"do": "bury", "when": f'product_id = "{plain[0]}"'}], query(len(plain)))
    assert ids(buried) == [*plain[1:], plain[0]] and buried.placed_by == {plain[0]: "0"}
    assert plain[0] not in ids(await shelf.ruled([{"do": "bury", "when": f'product_id = "{plain[0]}"'}], query(5)))


async def test_at_most_n_of_a_brand_as_long_as_there_are_others(shelf: Shelf) -> None:
    found = ids(await shelf.ruled([{"do": "at_most", "n": 2, "field": "category"}], query(8)))
    assert set(Counter(shelf.products[one].category for one in found).values()) == {2}
    more = ids(await shelf.ruled([{"do": "at_most", "n": 2, "field": "category"}], query(12)))
    assert more[:8] == found and len(set(more)) == 12
    only = {"do": "at_most", "n": 1, "field": "brand", "when": f'brand = "{BRANDS[0]}"'}
    counts = Counter(shelf.products[one].brand for one in ids(await shelf.ruled([only], query(20))))
    assert counts[BRANDS[0]] == 1 and max(counts.values()) > 1


async def test_include_brings_the_best_that_match(shelf: Shelf) -> None:
    far = f'category = "{DATES}"'
    best = [one for one in ids(await shelf.search(query(60))) if shelf.products[one].category == DATES]
    rules = [{"do": "exclude", "when": f"{far} and price < 1"}, {"name": "two", "do": "include", "when": far, "n": 2}]
    limits = {"excluded_ids": [one for one in ids(await shelf.search(query(60))) if one not in best][:4]}
    found = await shelf.ruled(rules, query(4, **limits))
    assert set(best[:2]) <= set(ids(found)) and len(ids(found)) == 4


async def test_prices_and_fresh_products(shelf: Shelf) -> None:
    dates = {"do": "price_range", "when": f'category = "{DATES}"', "min": 20, "max": 30}
    found = [shelf.products[one] for one in ids(await shelf.ruled([dates], query(40)))]
    assert {one.price for one in found if one.category == DATES} == {21.0, 25.0, 29.0}
    assert sum(one.category != DATES for one in found) == sum(one.category != DATES for one in shelf.products.values())
    # p0 to p3 and the new products are as young
    fresh = {"name": "new", "do": "fresh_share", "share": 0.5, "days": OLDEST + 3.5}
    listed = ids(await shelf.ruled([fresh], query(10)))
    assert len({"p0", "p1", "p2", "p3", "n1", "n2"} & set(listed)) >= 5


async def test_what_was_shown_comes_again_only_where_nothing_else_is_left(shelf: Shelf) -> None:
    rule, every = {"do": "no_repeats", "hours": 2}, ids(await shelf.search(query(100)))
    assert ids(await shelf.ruled([rule], query(5), shown=every[:5])) == every[5:10]
    last = ids(await shelf.ruled([rule], query(5), shown=every[:-2]))
    assert set(every[-2:]) < set(last) and len(set(last)) == 5 and last[:2] == every[-2:]
    only = {"do": "no_repeats", "hours": 2, "when": f'category = "{JEWELLERY}"'}
    found = ids(await shelf.ruled([only], query(10), shown=every[:20]))
    assert found == [one for one in every if shelf.products[one].category != JEWELLERY or one not in every[:20]][:10]


async def test_facts_decide_for_whom_a_rule_acts(shelf: Shelf) -> None:
    rule = {"do": "pin", "product_id": "p33", "when": "buyer.guest = true and not (buyer.events > 3)"}
    for facts, acts in (
        ({"buyer.guest": True, "buyer.events": 2.0}, True),
        ({"buyer.guest": True, "buyer.events": 4.0}, False),
        ({"buyer.guest": False, "buyer.events": 2.0}, False),
        ({}, False),
    ):
        assert (ids(await shelf.ruled([rule], query(3), facts=facts))[0] == "p33") == acts


PRODUCTS = [f"p{row}" for row in range(40)] + ["n1", "n2", "nobody"]
WHENS = st.sampled_from(
    [
        "",
        f'category = "{JEWELLERY}"',
        f'brand in ["{BRANDS[0]}", "{BRANDS[2]}"]',
        f'not (category = "{CARS}" or price < 25)',
        "price >= 30 and in_stock = true",
        "in_stock = false",
        f'product_id in ["p1", "p2", "n1", "p39"] or brand = "{BRANDS[3]}"',
        f"age_days <= {OLDEST + 10.5:.6f}",
        'brand = "unknown"',
        "buyer.guest = true",
    ]
)
RULE = st.one_of(
    st.builds(lambda when, n: {"do": "include", "when": when, "n": n}, WHENS, st.integers(1, 5)),
    st.builds(lambda when: {"do": "exclude", "when": when}, WHENS.filter(bool)),
    st.builds(lambda when, factor: {"do": "boost", "when": when, "factor": factor}, WHENS, st.sampled_from([1.1, 50])),
    st.builds(lambda when: {"do": "bury", "when": when}, WHENS),
    st.builds(
        lambda one, place, when: {"do": "pin", "product_id": one, "place": place, "when": when},
        st.sampled_from(PRODUCTS),
        st.integers(1, 12),
        WHENS,
    ),
    st.builds(
        lambda n, field, when: {"do": "at_most", "n": n, "field": field, "when": when},
        st.integers(1, 4),
        st.sampled_from(["brand", "category"]),
        WHENS,
    ),
    st.builds(
        lambda low, when: {"do": "price_range", "min": low, "max": low + 20, "when": when}, st.integers(0, 40), WHENS
    ),
    st.builds(
        lambda share, days, when: {"do": "fresh_share", "share": share, "days": OLDEST + days, "when": when},
        st.sampled_from([0.1, 0.5, 1.0]),
        st.sampled_from([2.5, 12.5]),
        WHENS,
    ),
    st.builds(lambda when: {"do": "no_repeats", "hours": 1, "when": when}, WHENS),
)
FILTERS = st.fixed_dictionaries(
    {},
    optional={
        "categories": st.lists(st.sampled_from(list(CATEGORIES)), min_size=1, max_size=2),
        "brands": st.lists(st.sampled_from(BRANDS), min_size=1, max_size=2),
        "in_stock": st.booleans(),
        "price_min": st.sampled_from([12.0, 30.0]),
        "price_max": st.sampled_from([35.0, 600.0]),
    },
)


@given(
    rules=st.lists(RULE, max_size=8),
    k=st.integers(1, 45),
    wanted=FILTERS,
    excluded=st.lists(st.sampled_from(PRODUCTS), max_size=6),
    shown=st.lists(st.sampled_from(PRODUCTS), max_size=45),
    order=st.sampled_from(["", "price_asc", "price_desc", "diversity"]),
    popular=st.booleans(),
)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_whatever_the_rules_a_list_is_what_they_define_full_and_within_the_callers_filters(
    shelf: Shelf,
    rules: Sequence[Mapping[str, Any]],
    k: int,
    wanted: Mapping[str, Any],
    excluded: Sequence[str],
    shown: Sequence[str],
    order: str,
    popular: bool,
) -> None:
    asked = query(k, excluded_ids=excluded, filter=retrieval_pb2.Filter(**wanted))
    if order == "diversity":
        asked.diversity = 0.5
    elif order:
        asked.sort = SORTS[order]
    facts = {"buyer.guest": False}
    found = await shelf.ruled(rules, asked, facts=facts, shown=shown, popular=popular)
    listed = ids(found)
    assert len(set(listed)) == len(listed) == len(found.hits.scores)
    passing = {one.id for one in shelf.products.values() if _passes(one, wanted) and one.id not in excluded}
    forbidden = _forbidden(shelf, rules)
    assert set(listed) <= passing - forbidden
    assert len(listed) == min(k, len(passing - forbidden))
    # the last answer has put the list in the caller's order
    answers = shelf.answers[:-1] if order in SORTS and len(shelf.answers) > 1 else shelf.answers
    plain, moved = plain_list(shelf.products, numbered(rules).rules, facts, shown, k, answers)
    assert found.placed_by == moved
    if order in SORTS:
        assert set(listed) == set(plain)
        sign = 1 if order == "price_asc" else -1
        keys = [(price is None, sign * (price or 0.0)) for price in (shelf.products[one].price for one in listed)]
        assert keys == sorted(keys)
    else:
        assert listed == plain
        for place, product in _pinned(shelf, rules, k).items():
            if product in passing - forbidden:
                assert listed[min(place, len(listed)) - 1] == product or place > len(listed)


def _forbidden(shelf: Shelf, rules: Sequence[Mapping[str, Any]]) -> set[str]:
    """What the rules exclude, worked out without the engine."""
    from twotower.conditions.evaluation import given as known

    facts = {"buyer.guest": False}
    conditions = [exclusion(one, known(one.condition, facts)) for one in numbered(rules).rules]
    return {one.id for one in shelf.products.values() if any(holds(each, one) for each in conditions)}


def _pinned(shelf: Shelf, rules: Sequence[Mapping[str, Any]], k: int) -> dict[int, str]:
    """Place → product of the pins that stand alone: no other is about the place, the product, or depends on more."""
    pins = [one for one in rules if one["do"] == "pin"]
    places, products = (Counter(one[name] for one in pins) for name in ("place", "product_id"))
    return {
        one["place"]: one["product_id"]
        for one in pins
        if not one["when"] and places[one["place"]] == products[one["product_id"]] == 1 and one["place"] <= k
    }


def _passes(one: Product, wanted: Mapping[str, Any]) -> bool:
    low, high = wanted.get("price_min"), wanted.get("price_max")
    return (
        one.category in wanted.get("categories", [one.category])
        and one.brand in wanted.get("brands", [one.brand])
        and wanted.get("in_stock", one.in_stock) == one.in_stock
        and (low is None or (one.price is not None and one.price >= low))
        and (high is None or (one.price is not None and one.price <= high))
    )
