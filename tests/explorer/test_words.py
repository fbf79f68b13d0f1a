"""Every step and every warning that the gateway can say has Arabic words."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from explorer.gateway_words import step_in, warning_in
from explorer.words import _PAIRS, LANGUAGES, words_of
from item_service.query.understanding import STEPS
from tests.helpers.processes import ROOT

# what stores interactions answers to programs, and no page shows it
_NOT_SHOWN = ("interactions count", "nothing was stored", "kept apart from the histories")


def _texts(path: Path) -> Iterator[str]:
    """Every text that a module adds to `warnings`, with X for what it puts in."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        target = None
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            target = node.targets[0].id
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "append":
            target = node.func.value.id if isinstance(node.func.value, ast.Name) else None
        if target in ("warnings", "warning"):
            parts = {id(part) for one in ast.walk(node) if isinstance(one, ast.JoinedStr) for part in ast.walk(one)}
            for inner in ast.walk(node):
                if isinstance(inner, ast.JoinedStr):
                    yield "".join(one.value if isinstance(one, ast.Constant) else "X" for one in inner.values)
                elif isinstance(inner, ast.Constant) and id(inner) not in parts and " " in str(inner.value):
                    yield str(inner.value)


def _warnings() -> list[str]:
    files = [ROOT / "gateway" / name for name in ("experiments/serving.py", "rules/serving.py")]
    files += (ROOT / "gateway" / "pipeline").glob("*.py")
    found = {text for path in files for text in _texts(path)}
    return sorted(one for one in found if not any(part in one for part in _NOT_SHOWN) and len(one) > 12)


def test_the_warnings_are_found() -> None:
    assert len(_warnings()) >= 6 and "diversity has no effect on popular products" in _warnings()


@pytest.mark.parametrize(
    "warning",
    [
        "no product has category=زهور",
        "none of these products is known to follow 'P1'; the nearest by vector fill the list",
        "only 2 of these products are known to follow 'P1'; the nearest by vector fill the list",
        "only 2 of these products are known to go with 'P1'; popular products fill the list",
        "none of these products is known to go with the cart; popular products fill the list",
        "diversity has no effect on this list",
        "no product matches 'zzz': these are no nearer than to words that no product has",
        "no product is left by 'under 3' of 'ring under 3'; understand=false searches without such filters",
        "its condition is never true",
        "no product matches",
        "no product matches, or its condition is not true of it",
        "the product 'P1' is not known",
        "contradicts 'a': both want place 1, and the first rule counts",
        "contradicts 'a': the same product at place 2, and the first rule counts",
        "contradicts 'a': it buries what the other boosts",
        "contradicts 'a': the product is excluded",
        "contradicts 'a': all products that match are excluded",
        "its window is past: it ended 2026-01-01T00:00:00+00:00",
        "its window is empty: it ends 2026-01-01T00:00:00+00:00 and begins 2026-01-02T00:00:00+00:00",
        "conditions are not checked: no answer in time",
        *(one for one in _warnings() if not one.startswith("X")),
    ],
)
def test_every_warning_has_arabic_words(warning: str) -> None:
    assert warning_in("ar", warning) != warning and warning_in("en", warning) == warning


@pytest.mark.parametrize("step", STEPS)
def test_every_step_has_arabic_words(step: str) -> None:
    assert step_in("ar", step) != step


def test_both_languages_have_every_word_and_templates_name_no_other() -> None:
    for name, pair in _PAIRS.items():
        assert len(pair) == len(LANGUAGES) and all(pair), name
    known = words_of("ar")
    for path in (ROOT / "explorer" / "templates").glob("*.html"):
        for name in re.findall(r"\bw\.([a-z_A-Z]+)", path.read_text(encoding="utf-8")):
            assert name in known or name == "get", (path.name, name)


def test_latin_names_are_isolated_in_an_arabic_warning() -> None:
    assert warning_in("ar", "no product has brand=LG 2") == "لا منتج من العلامة «\u2068LG 2\u2069»"
    assert warning_in("ar", "no product has category=زهور") == "لا منتج في الفئة «زهور»"
