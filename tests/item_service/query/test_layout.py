"""Text of the wrong keyboard layout is repaired both ways, and other text is left alone."""

from __future__ import annotations

import pytest

from item_service.query.known_words import KnownWords
from item_service.query.layout import other_layouts, repair_layout
from item_service.query.query import Query
from item_service.query.understanding import Language


@pytest.mark.parametrize(
    ("typed", "text"),
    [
        ("ohjl", "خاتم"),
        # ` is ذ with 101 keys, \ with 102
        ("ohjl `if", "خاتم ذهب"),
        ("ohjl \\if", "خاتم ذهب"),
        ("u'v u,]", "عطر عود"),
        ("OHJL", "خاتم"),
        ("ohjl 21", "خاتم 21"),
        ("ohjl jpj 200 vdhg", "خاتم تحت 200 ريال"),
        ("ri,m", "قهوة"),
        # H and Shift is أ, Y and Shift is إ
        ("Hfdq", "ابيض"),
        ("Y'hv", "إطار"),
        ("معةخقش", "lumora"),
        ("لخمي", "gold"),
    ],
)
def test_the_keys_are_read_in_the_other_layout(typed: str, text: str, known: KnownWords, language: Language) -> None:
    found = repair_layout(Query(typed, typed), known, language.sounds)
    assert found.text == text and [change.step for change in found.changes] == ["layout"]


@pytest.mark.parametrize("typed", ["خاتم ذهب", "lumora pro", "khatem", "asdfgh", "خاتم ohjl", "ثلاجة", "!!", ""])
def test_other_text_stays(typed: str, known: KnownWords, language: Language) -> None:
    query = Query(typed, typed)
    assert repair_layout(query, known, language.sounds) == query


def test_lam_alef_is_one_key_or_two() -> None:
    assert other_layouts("لاخح") == ["bop", "ghop"]
    assert other_layouts("b") == ["لا", "لا"]
