"""Drafts of rules, without a gateway."""

from __future__ import annotations

import pytest

from explorer import rules
from explorer.rules import WrongForm

NOON = 1_767_268_800.0  # 2026-01-01T12:00:00Z


def test_a_pin_for_a_day_in_one_slot() -> None:
    form = {"do": "pin", "product": " P1 ", "place": "2", "slot": "home", "days": "1"}
    old = {"name": "pin P1", "do": "bury", "slot": "*", "when": 'brand = "x"'}
    assert rules.draft([old], form, NOON) == [
        {
            "name": "pin P1 (2)",
            "do": "pin",
            "slot": ["home"],
            "product_id": "P1",
            "place": 2,
            "until": "2026-01-02T12:00:00Z",
        },
        old,
    ]


def test_a_boost_names_its_brand_in_quotes_and_every_slot() -> None:
    form = {"do": "boost", "brand": 'دار "زمرد"', "category": "عطور", "factor": "3", "slot": "", "days": ""}
    (found,) = rules.draft([], form, NOON)
    assert found["when"] == 'brand = "دار \\"زمرد\\"" and category = "عطور"'
    assert (found["slot"], found["factor"]) == ("*", 3.0) and "until" not in found


def test_one_rule_is_switched_or_removed() -> None:
    both = [{"name": "a", "do": "exclude"}, {"name": "b", "do": "exclude", "enabled": False}]
    assert [one.get("enabled") for one in rules.draft(both, {"switch": "a"}, NOON)] == [False, False]
    assert [one.get("enabled") for one in rules.draft(both, {"switch": "b"}, NOON)] == [None, True]
    assert rules.draft(both, {"remove": "a"}, NOON) == both[1:]


def test_text_is_yaml_or_json_and_times_stay_text() -> None:
    text = 'rules:\n- {name: a, do: exclude, when: "price > 5", until: 2026-01-02T12:00:00Z}\n'
    wanted = [{"name": "a", "do": "exclude", "when": "price > 5", "until": "2026-01-02T12:00:00+00:00"}]
    assert rules.read_rules(text) == wanted
    assert rules.read_rules(rules.as_yaml(wanted)) == wanted
    assert rules.read_rules('[{"name": "a"}]') == [{"name": "a"}]
    assert rules.read_rules("") == []


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({"do": "pin", "product": ""}, "product: is missing"),
        ({"do": "pin", "product": "P1", "place": "x"}, "place: must be a number, not 'x'"),
        ({"do": "pin", "product": "P1", "place": "inf"}, "place: must be a number, not 'inf'"),
        ({"do": "sell"}, "do: must be one of pin, boost, bury, exclude, not 'sell'"),
        ({"do": "bury"}, "brand, category or product: one of them is needed"),
        ({"text": "{"}, "rules: "),
        ({"text": "[1]"}, "rules: must be a list of rules"),
    ],
)
def test_a_wrong_form_says_what_is_wrong(form: dict[str, str], said: str) -> None:
    with pytest.raises(WrongForm, match=said.replace("[", r"\[").replace("{", r"\{")):
        rules.draft([], form, NOON)
