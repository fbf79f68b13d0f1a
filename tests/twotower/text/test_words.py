"""Words, numbers and stems of texts."""

from __future__ import annotations

import pytest

from twotower.text.words import clitic_stems, indexed_words, query_words, split_words, stem


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("خاتم ذهب عيار ٢١", ["خاتم", "ذهب", "عيار", "21"]),
        # digits and letters are words of their own, whether or not a space is between them
        ("عطر 100مل", ["عطر", "100", "مل"]),
        ("عطر 100 ml", ["عطر", "100", "مل"]),
        ("1,500.5 ريال", ["1500.5", "ريال"]),
        # a size is a word too, however its sign is written
        ("إطار 265/70R16", ["اطار", "265/70r16", "265", "70", "r", "16"]),
        ("سجاد 200 × 300", ["سجاد", "200x300", "200", "x", "300"]),
        ("سجاد 200*300", ["سجاد", "200x300", "200", "x", "300"]),
        ("جديييد مؤمن ماء", ["جديد", "مومن", "ما"]),
        ("Type-C شاحن", ["type", "c", "شاحن"]),
        ("!؟ - _", []),
    ],
)
def test_a_text_is_split_into_words_and_numbers(text: str, words: list[str]) -> None:
    assert indexed_words(text) == words


def test_a_word_of_a_split_text_is_split_the_same_again() -> None:
    for word in indexed_words("إطار 265/70R16 زيت 5W-30 عيار 21.5 iPhone15"):
        assert word in split_words(word)


def test_a_query_has_each_word_once_and_no_signs() -> None:
    assert query_words("«خاتم» خاتم #ذهب؟") == ["خاتم", "ذهب"]


def test_a_query_has_no_endless_words_and_not_endlessly_many() -> None:
    assert query_words("ب" + "با" * 80 + " خاتم") == ["خاتم"]
    assert len(query_words(" ".join(map(str, range(1000))))) == 500


@pytest.mark.parametrize(
    ("words", "one"),
    [
        (["عبايه", "عبايات", "العبايه", "والعبايه", "للعبايات"], "عبا"),
        (["ساعه", "ساعات", "الساعات"], "ساع"),
        (["rings", "ring"], "ring"),
        (["batteries", "battery"], "battery"),
        # three letters stay, and a number is what it is
        (["الف"], "الف"),
        (["glass"], "glass"),
        (["1500"], "1500"),
    ],
)
def test_forms_of_a_word_share_a_stem(words: list[str], one: str) -> None:
    assert {stem(word) for word in words} == {one}


def test_letters_in_front_are_taken_off_one_by_one() -> None:
    assert list(clitic_stems("وبخاتم")) == ["بخاتم", "خاتم"]
    assert list(clitic_stems("خاتم")) == []
    # three letters stay
    assert list(clitic_stems("ورد")) == []


@pytest.mark.parametrize(("one", "other"), [("زيت", "زيتون"), ("تمر", "تمرين")])
def test_a_word_that_ends_as_a_plural_keeps_its_ending(one: str, other: str) -> None:
    assert stem(one) != stem(other)


def test_duals_and_long_plurals_lose_their_ending() -> None:
    assert stem("خاتمين") == stem("خاتم")
    assert stem("بطانيات") == stem("بطانية".replace("ة", "ه"))
