"""What is refused as a condition, and that writing and reading are inverse."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twotower.conditions.language import All, Any, Comparison, Condition, Not
from twotower.conditions.parsing import ConditionError, parse, write


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("colour = 1", "character 1: colour is no field; known: product_id"),
        ("brand", "character 6: brand takes =, !=, in, not ''"),
        ("brand = 5", "character 9: expected a text in double quotes, not 5"),
        ("brand = 'X'", "character 9: cannot read \"'X'\""),
        ('price = "5"', "character 9: expected a number"),
        ("price < 1e9", "cannot read"),
        ('brand < "X"', "character 7: brand takes =, !=, in, not '<'"),
        ('brand has "X"', "brand takes"),
        ("in_stock = 1", "expected true or false"),
        ("price < 1 price > 2", "character 11: expected and, or, or the end, not price"),
        ("(price < 1", "expected ), not the end"),
        ('brand in ["a" "b"]', "expected , or ]"),
        ("price < 1 and", "character 14: the end is no field"),
        ('brand = "a\\x"', "is no JSON string"),
        ("(" * 70 + "price < 1" + ")" * 70, "is nested more than 60 deep"),
        ("__import__('os').system('true')", "cannot read"),
    ],
)
def test_what_is_no_condition_is_refused_with_its_place(text: str, problem: str) -> None:
    with pytest.raises(ConditionError) as raised:
        parse(text)
    assert problem in str(raised.value)


TEXTS = st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=5)
LEAVES: st.SearchStrategy[Condition] = st.one_of(
    st.builds(lambda values: Comparison("brand", "=", tuple(values)), st.lists(TEXTS, min_size=1, max_size=3)),
    st.builds(
        lambda sign, cents: Comparison("price", sign, (cents / 100,)),
        st.sampled_from(["=", "<", "<=", ">", ">="]),
        st.integers(-(10**9), 10**9),
    ),
    st.builds(lambda flag: Comparison("in_stock", "=", (flag,)), st.booleans()),
)
CONDITIONS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(lambda parts: All(tuple(parts)), st.lists(inner, min_size=2, max_size=3)),
        st.builds(lambda parts: Any(tuple(parts)), st.lists(inner, min_size=2, max_size=3)),
    ),
    max_leaves=8,
)


@given(CONDITIONS)
def test_a_condition_is_read_as_it_was_written(condition: Condition) -> None:
    assert parse(write(condition)) == condition
    assert "\n" not in write(condition)
