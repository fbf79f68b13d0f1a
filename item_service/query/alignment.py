"""How well a Latin spelling sounds like an Arabic word, by a weighted alignment of its letters.

Costs follow how Arabs spell Arabic in Latin letters (Arabizi): 3 is ع, 7 is ح, "kh" is خ, and short vowels, which
Arabic does not write, cost nearly nothing (Darwish, Arabizi Detection and Conversion to Arabic, 2014).
"""

from __future__ import annotations

import re

# Latin spellings of each sound and what Arabic writes for it, with the cost of each
_SOUNDS: dict[str, dict[str, float]] = {
    "a": {"ا": 0.0, "ع": 0.25, "ه": 0.2, "ي": 0.5},
    "e": {"ي": 0.1, "ا": 0.15, "ه": 0.25, "ع": 0.3},
    "i": {"ي": 0.0, "ا": 0.3, "ع": 0.35},
    "o": {"و": 0.0, "ا": 0.4, "ع": 0.35},
    "u": {"و": 0.0, "ا": 0.4, "ع": 0.35},
    "b": {"ب": 0.0},
    "p": {"ب": 0.05},
    "t": {"ت": 0.0, "ط": 0.1, "ه": 0.3, "ث": 0.3},
    "th": {"ث": 0.0, "ذ": 0.15, "ت": 0.4},
    "j": {"ج": 0.0, "غ": 0.5},
    "g": {"ج": 0.1, "ق": 0.15, "غ": 0.15, "ك": 0.2},
    "gh": {"غ": 0.0, "ق": 0.3},
    "7": {"ح": 0.0},
    "h": {"ه": 0.0, "ح": 0.1},
    "kh": {"خ": 0.0, "ك": 0.4},
    "5": {"خ": 0.0},
    "x": {"خ": 0.3},
    "ks": {},
    "d": {"د": 0.0, "ض": 0.1, "ذ": 0.15, "ظ": 0.3},
    "dh": {"ذ": 0.0, "ظ": 0.05, "ض": 0.1, "د": 0.3},
    "r": {"ر": 0.0},
    "z": {"ز": 0.0, "ذ": 0.15, "ظ": 0.15, "ض": 0.4},
    "s": {"س": 0.0, "ص": 0.1, "ث": 0.25, "ز": 0.4},
    "9": {"ص": 0.0, "ق": 0.2},
    "sh": {"ش": 0.0},
    "ch": {"ش": 0.05, "ج": 0.3, "ك": 0.3, "ت": 0.4},
    "4": {"ش": 0.3, "ذ": 0.3, "غ": 0.3},
    "6": {"ط": 0.0},
    "3": {"ع": 0.0},
    "3'": {"غ": 0.0},
    "7'": {"خ": 0.0},
    "6'": {"ظ": 0.0},
    "9'": {"ض": 0.0},
    "2": {"ا": 0.05, "ق": 0.05},
    "8": {"ق": 0.0, "غ": 0.2},
    "f": {"ف": 0.0},
    "ph": {"ف": 0.05},
    "v": {"ف": 0.05},
    "q": {"ق": 0.0, "ك": 0.3},
    "k": {"ك": 0.0, "ق": 0.15, "خ": 0.5},
    "c": {"ك": 0.05, "س": 0.1, "ق": 0.2},
    "l": {"ل": 0.0},
    "m": {"م": 0.0},
    "n": {"ن": 0.0},
    "w": {"و": 0.0},
    "y": {"ي": 0.0},
    "'": {"ع": 0.1, "ا": 0.1},
}
_VOWELS = frozenset("aeiou")
_WRITTEN_TWICE = {
    "aa": "a",
    "ee": "i",
    "oo": "u",
    "ou": "u",
    "ii": "i",
    "uu": "u",
    "ai": "y",
    "ay": "y",
    "ei": "y",
    "ey": "y",
}
_WRITTEN_TWICE |= {"aw": "w", "au": "w", "ow": "w"}
_PAIRS = tuple(name for name in _SOUNDS if len(name) == 2 and name != "ks")
_TOKEN = re.compile("|".join((*map(re.escape, (*_PAIRS, *_WRITTEN_TWICE)), "x", "[a-z0-9']")))
# leaving out a letter: of the Latin word, and of the Arabic one
_SKIPPED_VOWEL, _SKIPPED_LONG_VOWEL, _SKIPPED_CONSONANT = 0.05, 0.35, 1.0
_SKIPPED_LATIN = {"h": 0.35, "'": 0.02, "w": 0.35, "y": 0.35, "2": 0.2}
_SKIPPED_ARABIC = {"ا": 0.25, "و": 0.3, "ي": 0.3, "ع": 0.4, "ه": 0.5}
_MISMATCH = 1.2
_SPELLED_LONG = frozenset({"aa", "ee", "oo", "ou", "ii", "uu"})

# the sounds of consonants, coarsely, for finding candidates: letters that are often confused share a sign
_COARSE = {
    **dict.fromkeys("بbp", "b"),
    **dict.fromkeys("تطt6", "t"),
    **dict.fromkeys("جj", "j"),
    **dict.fromkeys("خ5", "x"),
    **dict.fromkeys("دضd", "d"),
    **dict.fromkeys("رr", "r"),
    **dict.fromkeys("زz", "z"),
    **dict.fromkeys("سصs", "s"),
    **dict.fromkeys("شC", "S"),
    **dict.fromkeys("غG", "g"),
    **dict.fromkeys("فfv", "f"),
    **dict.fromkeys("قكkq89c", "k"),
    **dict.fromkeys("لl", "l"),
    **dict.fromkeys("مm", "m"),
    **dict.fromkeys("نn", "n"),
}
_COARSE_PAIRS = {"kh": "x", "sh": "S", "ch": "S", "ph": "f", "gh": "g", "3'": "g", "7'": "x", "6'": "z", "9'": "d"}
# letters with more than one coarse sound
_AMBIGUOUS = {
    "ذ": "dz",
    "ظ": "dz",
    "ث": "st",
    "th": "tsd",
    "dh": "dz",
    "g": "jgk",
    "x": "x",
    "4": "S",
    "c": "ks",
    "ق": "kg",
    "ج": "jg",
    "ch": "Sk",
    "9": "sk",
}
_MAX_KEYS = 16
# single digits among Latin letters with a vowel; "5g" and "3xl" have none, and 0, 1 and 4 stand for no common letter
_ARABIZI = re.compile(r"(?=.*[aeiou])(?=.*[2356789])(?!.*[014])(?!.*\d\d)[a-z0-9']{3,}")


def sounds(word: str) -> list[str]:
    """The sounds of a Latin word: letters, pairs such as "kh", and digits that stand for Arabic letters."""
    found = _TOKEN.findall(re.sub(r"([^aeiou\d])\1", r"\1", word.lower().replace("’", "'")))
    return [part for one in found for part in (("k", "s") if one == "x" and len(found) > 1 else (one,))]


def is_arabizi(word: str) -> bool:
    """Whether digits stand for letters in a word, as in "3oud"."""
    return not word.isalpha() and _ARABIZI.fullmatch(word) is not None


def skeletons(word: str) -> set[str]:
    """The coarse consonants of an Arabic or a Latin word, in each reading; vowels, ه, ح and ع count nothing."""
    letters = list(word) if "ء" <= word[:1] <= "ي" else sounds(word)
    keys = {""}
    for letter in letters:
        signs = _AMBIGUOUS.get(letter) or _COARSE_PAIRS.get(letter) or _COARSE.get(letter, "")
        if signs and len(keys) * len(signs) <= _MAX_KEYS:
            keys = {key + sign for key in keys for sign in signs}
        elif signs:
            keys = {key + signs[0] for key in keys}
    return keys


def distance(latin: list[str], arabic: str) -> float:
    """The cost of the cheapest alignment of the sounds of a Latin word with an Arabic word, 0 for a perfect one."""
    row = [0.0]
    for letter in arabic:
        row.append(row[-1] + _SKIPPED_ARABIC.get(letter, _SKIPPED_CONSONANT))
    for place, sound in enumerate(latin):
        options = _options(sound)
        skip = _skip(sound, place)
        before, row = row, [row[0] + skip]
        for column, letter in enumerate(arabic, start=1):
            row.append(
                min(
                    before[column - 1] + _match(options, sound, letter, column == len(arabic)),
                    before[column] + skip,
                    row[-1] + _skip_arabic(letter, column, len(arabic)),
                )
            )
    return row[-1]


def _options(sound: str) -> dict[str, float]:
    if sound in _WRITTEN_TWICE:
        return _SOUNDS[_WRITTEN_TWICE[sound]]
    return _SOUNDS.get(sound, {})


def _match(options: dict[str, float], sound: str, letter: str, is_last: bool) -> float:
    cost = options.get(letter, _MISMATCH)
    # the ending ة sounds as a, and as t before another noun
    return min(cost, 0.05) if letter == "ه" and is_last and sound in ("a", "e", "t", "ah", "h") else cost


def _skip(sound: str, place: int) -> float:
    if sound in _VOWELS:
        # a word that begins with a vowel has a letter for it
        return _SKIPPED_VOWEL if place else 0.2
    return _SKIPPED_LONG_VOWEL if sound in _WRITTEN_TWICE else _SKIPPED_LATIN.get(sound, _SKIPPED_CONSONANT)


def _skip_arabic(letter: str, column: int, length: int) -> float:
    if letter == "ه" and column == length:
        return 0.25
    return _SKIPPED_ARABIC.get(letter, _SKIPPED_CONSONANT)
