"""What a shopper does not want is excluded, unless titles say the same of a product."""

from __future__ import annotations

import pytest

from item_service.query.known_words import KnownWords
from item_service.query.negation import read_negation, widen_excluded
from item_service.query.query import Query, read
from item_service.query.synonyms import Synonyms
from item_service.query.understanding import Language


@pytest.mark.parametrize(
    ("typed", "text", "excluded"),
    [
        ("قهوة بدون هيل", "قهوه", ("هيل",)),
        ("قهوة من غير زعفران", "قهوه", ("زعفران",)),
        ("قهوة بدون هيل وزعفران", "قهوه", ("هيل", "زعفران")),
        ("عباية مو سوداء", "عبايه", ("سودا",)),
        ("عطر ما عدا عود", "عطر", ("عود",)),
        ("عباية غير لون سوداء", "عبايه", ("سودا",)),
        ("perfume without oud", "perfume", ("oud",)),
        # the denied word need not be known
        ("كريم ومن غير بارابين", "كريم", ("بارابين",)),
    ],
)
def test_a_denied_word_is_excluded(typed: str, text: str, excluded: tuple[str, ...], known: KnownWords) -> None:
    found = read_negation(read(Query(typed, typed)), known)
    assert (found.text, found.excluded) == (text, excluded)


@pytest.mark.parametrize(
    "typed",
    [
        # a title holds it
        "مناديل بدون عطر",
        "مناديل من غير عطر",
        # nothing else is left to search
        "بدون هيل",
        "قهوة بدون",
        "قطع غيار",
    ],
)
def test_an_attribute_stays(typed: str, known: KnownWords) -> None:
    query = read(Query(typed, typed))
    assert read_negation(query, known) == query


def test_words_of_the_same_meaning_and_the_brand_in_the_other_script_are_excluded_too(
    known: KnownWords, language: Language, synonyms: Synonyms
) -> None:
    query = Query("", "ساعه", excluded=("برقان", "اسود"))
    found = widen_excluded(query, known, language.sounds, synonyms)
    assert found.excluded == ("برقان", "اسود", "سودا", "barqan")
