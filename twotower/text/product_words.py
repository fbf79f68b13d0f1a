"""How often a product holds each word, field by field, and BM25's score of that: for the trainer and live products."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from twotower.text.denials import ABSENCES
from twotower.text.words import indexed_words, is_number, stem

# how often a word counts that stands once in a field
TITLE, BRAND, NAME, DESCRIPTION = 1.0, 0.7, 0.5, 0.25
# what comes with a product is not the product: "سيارة لعبة مع شاحن" is no charger
_ADDED = 0.5
_WITH = frozenset({"مع", "with"})
# Robertson and Zaragoza (2009) give 1.2 to 2 and 0.5 to 0.8
K1, B = 1.2, 0.5


class Field(NamedTuple):
    """One field of a product, and how often a word of it counts; `without`: a name that is left out of the text."""

    text: str
    weight: float
    has_numbers: bool = True
    without: str = ""


def count_words(fields: Iterable[Field]) -> Counter[str]:
    """How often a product holds each word, weighted by field."""
    held = Counter[str]()
    for field in fields:
        words = indexed_words(field.text)
        if field.without:
            words = _without(words, indexed_words(field.without))
        for word, share in _affirmed(words):
            if field.has_numbers or not is_number(word):
                held[word] += field.weight * share  # type: ignore[assignment]
    return held


def count_stems(held: Mapping[str, float], sign: str) -> Counter[str]:
    """How often a product holds each stem, with the sign before it. A number has none."""
    stems = Counter[str]()
    for word, count in held.items():
        if not is_number(word):
            stems[sign + stem(word)] += count  # type: ignore[assignment]
    return stems


def _affirmed(words: Sequence[str]) -> Iterator[tuple[str, float]]:
    """The words that no word before them denies, each with how much it counts: less after "with".

    A title with "بدون عطر" is none of a perfume, and nobody who wants no perfume wants it left out.
    """
    share = 1.0
    for before, word in pairwise(["", *words]):
        if word in _WITH:
            share = _ADDED
        if before not in ABSENCES:
            yield word, share


def _without(words: list[str], name: list[str]) -> list[str]:
    """The words without a name among them."""
    size = len(name)
    for start in range(len(words) - size + 1 if size else 0):
        if words[start : start + size] == name:
            return words[:start] + words[start + size :]
    return words
