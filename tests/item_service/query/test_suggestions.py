"""Completions: by any word's beginning, with a typo, in the other layout, by sound."""

from __future__ import annotations

import pytest

from item_service.query.suggestions import Suggestion, Suggestions
from item_service.query.understanding import Understanding
from twotower.artifact.search_words import SearchWords


@pytest.fixture(scope="module")
def suggestions(words: SearchWords) -> Suggestions:
    return Suggestions(words)


@pytest.mark.parametrize(
    ("typed", "first"),
    [
        ("خا", "خاتم"),
        ("خاتم ذ", "خاتم ذهب"),
        ("الخا", "خاتم"),
        # any word's beginning
        ("الرم", "عود الرميثان"),
        ("مجوه", "مجوهرات"),
        ("lum", "Lumora"),
        # a letter changed, missing, and swapped
        ("خاتن", "خاتم"),
        ("عباي", "عبايات"),
        ("قهوؤ", "قهوة"),
        ("ساغة ذ", "ساعة ذكية"),
        ("ohj", "خاتم"),
        ("khatem", "خاتم"),
        ("ابغى خاتم", "خاتم"),
    ],
)
def test_the_best_completion(typed: str, first: str, suggestions: Suggestions, understanding: Understanding) -> None:
    assert suggestions.complete(typed, 3, understanding)[0].text == first


def test_more_products_come_first_and_a_text_comes_once(suggestions: Suggestions, understanding: Understanding) -> None:
    assert suggestions.complete("خاتم", 10, understanding) == [
        Suggestion("خاتم", "phrase", 3),
        Suggestion("خاتم ذهب", "phrase", 2),
    ]
    assert suggestions.complete("خاتم", 1, understanding) == [Suggestion("خاتم", "phrase", 3)]


@pytest.mark.parametrize("typed", ["qqq", "!!", "ثلاجة"])
def test_nothing_completes_an_unknown_text(typed: str, suggestions: Suggestions, understanding: Understanding) -> None:
    assert suggestions.complete(typed, 5, understanding) == []


def test_a_catalogue_without_words_completes_nothing(understanding: Understanding) -> None:
    assert Suggestions(SearchWords({}, {}, {}, {}, {}, {}, {})).complete("خا", 5, understanding) == []
