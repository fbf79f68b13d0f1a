"""Which targets belong to which slice, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from trainer.data.catalogue import Products
from trainer.data.split import Cases
from trainer.evaluate.ranking import Ranks
from trainer.evaluate.slices import Facts, popularity_thirds, script, slice_masks, slice_report


@pytest.mark.parametrize(
    ("title", "wanted"),
    [
        ("خاتم ذهب عيار ٢١", "Arabic"),
        ("5W-30 oil", "Latin"),
        ("زيت محرك 5W", "mixed"),
        ("ﺧﺎﺗﻢ", "Arabic"),
        ("Crème", "Latin"),
        ("١٢٣ - 456", "none"),
        ("", "none"),
        ("×÷", "none"),
        ("масло", "none"),
    ],
)
def test_the_script_of_a_title(title: str, wanted: str) -> None:
    assert script(title) == wanted


def test_thirds_of_popularity_hold_a_third_of_the_events_each() -> None:
    # 30 events: 12 and 6 start within the first 10 and 20, the 4s at 18 and on together, the rest after 20
    assert popularity_thirds(np.array([1, 12, 6, 4, 4, 2, 0, 1])) == [
        "tail",
        "head",
        "torso",
        "torso",
        "torso",
        "tail",
        "cold",
        "tail",
    ]
    assert popularity_thirds(np.zeros(2, np.int64)) == ["cold", "cold"]


def shop() -> tuple[Products, Ranks, Cases, Facts]:
    titles = ["خاتم", "ring", "خاتم ring", "٢١", "سلسال"]
    count = len(titles)
    products = Products(
        [f"p{row}" for row in range(count)],
        titles,
        [""] * count,
        [""] * count,
        ["a", "a", "b", "", "b"],
        [None] * count,
        [""] * count,
        [True] * count,
        [()] * count,
        [""] * count,
    )
    # three buyers, histories of 2, 4 and 60 events; targets 0 and 3, 1, and 4
    cases = Cases(np.arange(3), np.array([0, 10, 20]), np.array([2, 14, 80]), np.array([4, 15, 81]))
    ranks = Ranks(np.array([0, 0, 1, 2]), np.array([0, 50, 200, 3]), np.zeros((3, 5), np.int64), np.array([0, 3, 1, 4]))
    hidden = np.array([False, False, False, True, False])
    return products, ranks, cases, Facts(products, np.array([9, 3, 0, 0, 0]), hidden)


def test_slices_by_hand() -> None:
    _, ranks, cases, facts = shop()
    masks = slice_masks(ranks, cases, facts)
    found = {kind: {label: np.flatnonzero(mask).tolist() for label, mask in of.items()} for kind, of in masks.items()}
    assert found == {
        "history length": {"1–2": [0, 1], "3–5": [2], "51 and more": [3]},
        "target popularity": {"head": [0], "tail": [2], "cold": [1, 3]},
        "category": {"a": [0, 2], "b": [3], "none": [1]},
        "script": {"Arabic": [0, 3], "Latin": [2], "none": [1]},
        "products": {"cold: never in training": [1, 3], "warm": [0, 2]},
        "buyers": {"cold: 1–2 events": [0, 1], "warm": [2, 3]},
        "hidden products": {"hidden": [1], "warm": [0, 2]},
    }


def test_without_hidden_products_they_have_no_slice() -> None:
    _, ranks, cases, facts = shop()
    assert "hidden products" not in slice_masks(ranks, cases, facts._replace(hidden=np.zeros(5, np.bool_)))


def test_only_the_most_frequent_categories_have_a_slice() -> None:
    _, _, cases, _ = shop()
    names = [f"c{row % 14:02d}" for row in range(40)]
    many = Products(["p"] * 40, [""] * 40, [], [], names, [], [], [], [()] * 40, [""] * 40)
    targets = np.arange(40)
    ranks = Ranks(np.zeros(40, np.int64), targets, np.zeros((1, 1), np.int64), targets)
    masks = slice_masks(ranks, cases, Facts(many, np.ones(40, np.int64), np.zeros(40, np.bool_)))["category"]
    # c00 to c11 have three targets each, c12 and c13 two
    assert list(masks) == [f"c{row:02d}" for row in range(12)] + ["other"]
    assert masks["other"].sum() == 4 and masks["c00"].sum() == 3


def test_a_slice_counts_only_its_own_targets() -> None:
    _, ranks, cases, facts = shop()
    better = ranks._replace(rank=np.array([0, 0, 0, 0]))
    report = slice_report({"model": ranks, "item_knn": better}, cases, facts, 100, 7)
    one = report["products"]["cold: never in training"]
    assert (one["cases"], one["targets"]) == (2, 2)
    # product 3 at rank 50 of the first buyer, product 4 at rank 3 of the third
    assert one["model"]["recall@100"] == 1.0 and one["model"]["recall@10"] == 0.5
    assert one["model"]["ndcg@10"] == pytest.approx(0.5 / np.log2(5))
    assert one["item_knn"] == {"recall@10": 1.0, "ndcg@10": 1.0, "recall@100": 1.0}
    assert set(one["interval"]) == {"recall@10", "ndcg@10"}
    assert one["interval"]["recall@10"] == [0.0, 1.0]
    # warm: rank 0 of the first buyer, rank 200 of the second
    assert report["products"]["warm"]["model"]["recall@100"] == 0.5
