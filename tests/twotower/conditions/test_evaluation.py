"""What conditions are true of: products, and what they say of products once facts are known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from twotower.arrays import Float64, Mask
from twotower.conditions.evaluation import given, matches, products_of
from twotower.conditions.language import ALWAYS, NEVER, Comparison
from twotower.conditions.parsing import parse


class Four:
    """Four products: two brands, prices 10, 20, none, 40; the third is out of stock."""

    size = 4

    def __init__(self) -> None:
        self.columns = {"product_id": ["a", "b", "c", "d"], "brand": ["X", "Y", "X", ""], "category": ["k"] * 4}

    def equal(self, field: str, values: Sequence[str]) -> Mask:
        return np.isin(self.columns[field], list(values))

    def number(self, field: str) -> Float64:
        return np.array([10.0, 20.0, np.nan, 40.0])

    def flag(self, field: str) -> Mask:
        return np.array([True, True, False, True])


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("", "abcd"),
        ('brand = "X"', "ac"),
        ('brand != "X"', "bd"),
        ('brand in ["Y", ""]', "bd"),
        ('brand not in ["Y"]', "acd"),
        ("brand in []", ""),
        ("price < 20", "a"),
        ("price <= 20", "ab"),
        ("price > 20.5", "d"),
        ("price >= 20", "bd"),
        ("price in [10, 40]", "ad"),
        ("price != 10", "bcd"),
        # of a product without a price, no comparison is true
        ("not (price < 20)", "bcd"),
        ("in_stock = false", "c"),
        ("in_stock != false", "abd"),
        # not binds more than and, and more than or
        ('brand = "Y" or brand = "X" and price = 10', "ab"),
        ('not brand = "X" and in_stock = true', "bd"),
        ('(brand = "Y" or brand = "X") and not (price = 10 or price = 20)', "c"),
        ('category="k"and price>5', "abd"),
    ],
)
def test_a_condition_is_true_of_the_right_products(text: str, right: str) -> None:
    assert "".join(np.array(list("abcd"))[matches(parse(text), Four())]) == right


def test_facts_leave_what_is_said_of_products() -> None:
    condition = parse('buyer.guest = true and price < 5 or buyer.did = "Purchase" or request.query has "ذهب"')
    price = Comparison("price", "<", (5.0,))
    assert given(condition, {"buyer.guest": True}) == price
    assert given(condition, {"buyer.guest": False}) == NEVER
    assert given(condition, {"buyer.did": frozenset({"View", "Purchase"})}) == ALWAYS
    assert given(condition, {"request.query": "خاتم ذهب"}) == ALWAYS
    assert given(condition, {"request.query": "ذهبي"}) == NEVER
    # nothing is known, so no comparison is true, and its opposite is
    assert given(parse("not (buyer.events > 3)"), {}) == ALWAYS
    # what some buyer may make of it
    assert products_of(parse("not (buyer.events > 3) and price < 5")) == price
