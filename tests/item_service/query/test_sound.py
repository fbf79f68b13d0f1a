"""Words get their match by sound in the other script."""

from __future__ import annotations

import pytest

from item_service.query.alignment import distance, skeletons, sounds
from item_service.query.known_words import KnownWords
from item_service.query.query import Query, read
from item_service.query.sound import sound_alike
from item_service.query.understanding import Language


@pytest.mark.parametrize(
    ("typed", "text"),
    [
        ("khatem dahab", "خاتم ذهب"),
        ("3etr", "عطر"),
        ("gahwa 3arabiya", "قهوه عربيه"),
        ("sa3a thakia", "ساعه ذكيه"),
        ("jawwal", "جوال"),
        ("لومورا", "lumora"),
        ("هدف سبورت", "hadaf sport"),
        ("3oud al rumaithan", "عود الرميثان"),
        # misspelt in its own script
        ("lomora", "lumora"),
        # no word of the shop sounds so
        ("nintendo", "nintendo"),
        ("ثلاجة", "ثلاجه"),
        ("جدا", "جدا"),
    ],
)
def test_unknown_words_are_replaced(typed: str, text: str, known: KnownWords, language: Language) -> None:
    found = sound_alike(read(Query(typed, typed)), known, language.sounds)
    assert found.text == text
    assert bool(found.changes) == (text != read(Query(typed, typed)).text)


def test_a_known_brand_gets_its_other_script_as_an_alternative(known: KnownWords, language: Language) -> None:
    found = sound_alike(Query("", "ساعه ذكيه برقان"), known, language.sounds)
    assert (found.text, found.changes) == ("ساعه ذكيه برقان", ())
    assert {phrase: [one.text for one in others] for phrase, others in found.alternatives.items()} == {
        "برقان": ["barqan"]
    }


def test_the_whole_name_of_a_brand_means_no_brand_of_one_of_its_words(known: KnownWords, language: Language) -> None:
    found = sound_alike(Query("", "ساعه barqan pro"), known, language.sounds)
    assert (found.text, found.changes, dict(found.alternatives)) == ("ساعه barqan pro", (), {})


@pytest.mark.parametrize(
    ("latin", "arabic", "cost"),
    [
        # every letter stands for one: kh a t e m
        ("khatm", "خاتم", 0.0),
        # e is not written
        ("khatem", "خاتم", 0.05),
        # d for ذ .15, a and a not written .1
        ("dahab", "ذهب", 0.25),
        # 3 for ع, t for ط .1, r
        ("3tr", "عطر", 0.1),
        # nothing for ر
        ("3t", "عطر", 1.1),
    ],
)
def test_the_cost_of_an_alignment(latin: str, arabic: str, cost: float) -> None:
    assert distance(sounds(latin), arabic) == pytest.approx(cost)


def test_sounds_are_pairs_and_digits_and_single_letters() -> None:
    assert sounds("khashab") == ["kh", "a", "sh", "a", "b"]
    assert sounds("7assan") == ["7", "a", "s", "a", "n"]
    assert sounds("max") == ["m", "a", "k", "s"]


def test_a_skeleton_has_the_consonants_in_each_reading() -> None:
    assert skeletons("dahab") == {"db"}
    assert skeletons("ذهب") == {"db", "zb"}
    assert skeletons("خاتم") == skeletons("5atem") == {"xtm"}
