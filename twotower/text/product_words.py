"""How often a product holds each word, field by field, and BM25's score of that: for the trainer and live products."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import NamedTuple

from twotower.text.words import indexed_words, is_number, stem

# how often a word counts that stands once in a field
TITLE, NAME, DESCRIPTION = 1.0, 0.5, 0.25
# Robertson and Zaragoza (2009) give 1.2 to 2 and 0.5 to 0.8
K1, B = 1.2, 0.5
# a title with "بدون عطر" is none of a perfume, and nobody who wants no perfume wants it left out
_DENIALS = frozenset({"بدون", "بلا", "بغير", "without"})


class Field(NamedTuple):
    """One field of a product, and how often a word of it counts."""

    text: str
    weight: float
    has_numbers: bool = True


def count_words(fields: Iterable[Field]) -> Counter[str]:
    """How often a product holds each word, weighted by field."""
    held = Counter[str]()
    for field in fields:
        for word in _affirmed(indexed_words(field.text)):
            if field.has_numbers or not is_number(word):
                held[word] += field.weight  # type: ignore[assignment]
    return held


def count_stems(held: Mapping[str, float], sign: str) -> Counter[str]:
    """How often a product holds each stem, with the sign before it. A number has none."""
    stems = Counter[str]()
    for word, count in held.items():
        if not is_number(word):
            stems[sign + stem(word)] += count  # type: ignore[assignment]
    return stems


def _affirmed(words: list[str]) -> Iterator[str]:
    """The words that no word before them denies."""
    return (word for before, word in pairwise(["", *words]) if before not in _DENIALS)
