"""The steps together, the words to look for, and the steps that are switched off."""

from __future__ import annotations

import pytest

from item_service.query.filler import drop_filler
from item_service.query.known_words import KnownWords
from item_service.query.query import Alternative, Query, read
from item_service.query.synonyms import Synonyms
from item_service.query.understanding import STEPS, Language, Understanding
from item_service.query.words import QueryWord, words_of


def test_every_step_leaves_what_it_did(understanding: Understanding) -> None:
    query = understanding("ابغى تلفون Lumora تحت ٢٠٠٠ ريال بدون شاشة")
    assert query.price_max == 2000 and query.price_min is None
    assert query.excluded[0] == "شاشه"
    assert query.text == "جوال lumora"
    assert [(change.step, change.before, change.after) for change in query.changes] == [
        ("price", "تحت 2000 ريال", ""),
        ("negation", "بدون شاشه", ""),
        ("filler", "ابغي تلفون lumora", "تلفون lumora"),
        ("synonyms", "تلفون lumora", "جوال lumora"),
    ]
    assert query.brand == "Lumora"
    assert query.original == "ابغى تلفون Lumora تحت ٢٠٠٠ ريال بدون شاشة"


def test_a_query_without_a_mistake_is_not_changed(understanding: Understanding) -> None:
    query = understanding("خاتم ذهب عيار 21")
    assert (query.text, query.changes, query.excluded) == ("خاتم ذهب عيار 21", (), ())
    assert (query.price_min, query.price_max) == (None, None)


@pytest.mark.parametrize(
    ("step", "typed", "text"),
    [
        ("layout", "ohjl", "ohjl"),
        ("price", "عطر تحت 200", "عطر تحت 200"),
        ("negation", "قهوه بدون هيل", "قهوه بدون هيل"),
        ("filler", "ابغي عطر", "ابغي عطر"),
        ("sound", "khatem", "khatem"),
        ("synonyms", "تلفون", "تلفون"),
    ],
)
def test_a_step_that_is_switched_off_does_nothing(
    step: str, typed: str, text: str, language: Language, synonyms: Synonyms
) -> None:
    assert Understanding(language, synonyms)(typed).text != text
    assert Understanding(language, synonyms, [name for name in STEPS if name != step])(typed).text == text


@pytest.mark.parametrize(
    ("typed", "text"),
    [
        ("ابغى خاتم ذهب لو سمحتم", "خاتم ذهب"),
        ("السلام عليكم ورحمة الله وبركاته، عندكم عطر عود؟ وشكرا", "عطر عود"),
        ("وش افضل قهوة عربية", "قهوه عربيه"),
        ("i am looking for a lumora", "lumora"),
        # only filler, and a brand that reads like one
        ("ابغى هدية", "ابغي هديه"),
        ("شكرا", "شكرا"),
    ],
)
def test_filler_is_left_out_if_a_known_word_stays(typed: str, text: str, known: KnownWords) -> None:
    assert drop_filler(read(Query(typed, typed)), known).text == text


def test_words_stand_in_groups_with_their_alternatives() -> None:
    query = Query("", "شاحن متنقل 65w", alternatives={"شاحن متنقل": (Alternative("باوربانك", 0.9),)})
    assert words_of(query) == [
        QueryWord("شاحن", 1.0, False, 0),
        QueryWord("باوربانك", 0.9, False, 0),
        QueryWord("متنقل", 1.0, False, 1),
        QueryWord("باوربانك", 0.9, False, 1),
        QueryWord("65", 1.0, True, 2),
        QueryWord("w", 1.0, False, 3),
    ]


def test_an_alternative_of_as_many_words_stands_word_by_word() -> None:
    query = Query("", "سرير بيبي", alternatives={"سرير بيبي": (Alternative("مهد اطفال", 0.9),)})
    assert [(one.text, one.group) for one in words_of(query)] == [("سرير", 0), ("مهد", 0), ("بيبي", 1), ("اطفال", 1)]
    # for another number of words there is no place
    query = Query("", "باوربانك", alternatives={"باوربانك": (Alternative("شاحن متنقل", 0.9),)})
    assert [one.text for one in words_of(query)] == ["باوربانك"]


def test_a_digit_that_stands_for_a_letter_is_no_number() -> None:
    assert [(one.text, one.is_number) for one in words_of(Query("", "3oudx 5g"))] == [
        ("oudx", False),
        ("5", True),
        ("g", False),
    ]


@pytest.mark.parametrize(("typed", "size"), [("كفر 265/70R16", "265/70r16"), ("سجادة ٢٠٠×٣٠٠", "200x300")])
def test_a_size_is_a_number_as_a_whole(typed: str, size: str, understanding: Understanding) -> None:
    numbers = [word.text for word in words_of(understanding(typed)) if word.is_number]
    assert numbers[0] == size


def test_the_names_of_brand_and_category_are_noted(understanding: Understanding) -> None:
    query = understanding("عطور وعود عود الرميثان")
    assert (query.brand, query.category) == ("عود الرميثان", "عطور وعود")


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("انا حامل بالشهر التاسع وابي جوال lumora", "جوال lumora"),
        ("ابغي جوال lumora قوي عشان ولدي في المدرسه", "جوال lumora قوي"),
        # a wish without a product after it has its product before
        ("عطر رجالي فاخر جدا ابغي", "عطر رجالي فاخر"),
        ("عطر وش", "عطر وش"),
    ],
)
def test_of_a_message_the_wish_is_searched_and_not_its_reason(typed: str, kept: str, known: KnownWords) -> None:
    assert drop_filler(read(Query(typed, typed)), known).text == kept
