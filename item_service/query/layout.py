"""Repairs text that was typed with the wrong keyboard layout: "ohjl" for خاتم, "لخمي" for gold.

The layouts are the Arabic ones of PC keyboards, 101 and 102 keys, beside US English.
"""

from __future__ import annotations

from item_service.query.known_words import KnownWords
from item_service.query.query import Query, normalised
from item_service.query.sound import SoundIndex

_PLAIN = dict(zip("qwertyuiop[]asdfghjkl;'zxcvnm,./", "ضصثقفغعهخحجدشسيبلاتنمكطئءؤرىةوزظ", strict=True)) | {"b": "لا"}
# ذ is left of 1 with 101 keys, and beside Enter or the left Shift with 102
_PLAIN |= {"`": "ذ", "\\": "ذ"}
_SHIFTED = {"H": "أ", "Y": "إ", "N": "آ", "G": "لأ", "T": "لإ", "B": "لآ", "J": "ـ", "~": "ّ", "{": "ج", "}": "د"}
_SHIFTED |= dict(zip("QWERASZX", "\u064e\u064b\u064f\u064c\u0650\u064d~\u0652", strict=True))
_TO_ARABIC = str.maketrans({letter.upper(): arabic for letter, arabic in _PLAIN.items()} | _PLAIN)
_TO_ARABIC_SHIFTED = str.maketrans(_PLAIN | _SHIFTED)
_TO_LATIN = {arabic: letter for letter, arabic in _PLAIN.items() if len(arabic) == 1 and letter != "\\"}
_TO_LATIN |= {arabic: letter.lower() for letter, arabic in _SHIFTED.items() if arabic.isalpha() and len(arabic) == 1}
_TO_LATIN_TABLE = str.maketrans(_TO_LATIN)


def repair_layout(query: Query, known: KnownWords, index: SoundIndex) -> Query:
    """Rewrites the text if under half of its words are known, and at least half of them are in the other layout.

    A word that sounds like one of the catalogue ("khat") is known, too.
    """
    words = normalised(query.text).split()
    # a number is the same in every layout
    words = [word for word in words if not word.isdigit()]
    if not words or sum(known.is_known(word) or index.sounds_known(word) for word in words) >= len(words) / 2:
        return query
    readings = [reading for reading in other_layouts(query.text) if reading != query.text]
    best = max(readings, key=lambda reading: known.share(normalised(reading).split()), default="")
    if best and known.share(normalised(best).split()) >= 0.5 and normalised(best):
        return query.rewritten("layout", best)
    return query


def other_layouts(text: str) -> list[str]:
    """What the keys of a text give in the other layout, in each of two readings."""
    if any("ء" <= letter <= "ي" for letter in text):
        # لا is one key, and the two letters are two
        return [text.replace("لا", "b").translate(_TO_LATIN_TABLE), text.translate(_TO_LATIN_TABLE)]
    return [text.translate(_TO_ARABIC), text.translate(_TO_ARABIC_SHIFTED)]
