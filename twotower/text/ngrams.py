"""Hashed character n-grams of words, and what each weighs: the tokenizer of the catalogue encoder.

Noisy Arabic (missing hamza, ة for ه, clitics, glued words) shares most of its character n-grams with the clean form
where word pieces fall apart; hashing needs no vocabulary (Bojanowski et al., 2017, arXiv:1607.04606). Names that came
from another script are spelt with other vowels every time: n-grams of the consonants alone meet there. A slip of the
pen leaves n-grams with a gap whole, and n-grams across words outlive lost spaces. A title begins with what the product
is: earlier words weigh more.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from twotower.arrays import Int64

_PIECES = re.compile(r"[^\W\d_]+|\d+(?:[.,]\d+)?|[^\w\s]+|_+")


# a weight of 1, as a whole number: weights travel in the attention mask, which is int64
UNIT = 4096


_LEAST = 0.2


# spellings that the normaliser keeps, since they are letters of their own: "مؤمن" and "مومن", "ماء" and "ما"
_HAMZA = {ord("ؤ"): "و", ord("ئ"): "ي", ord("ء"): None}


# "جدييييد": no Arabic word has a letter three times in a row
_RUN = re.compile("([ا-ي])\\1{2,}")


_VOWELS = re.compile("[اويaeiou]")


class Bag(NamedTuple):
    """N-gram ids of one text and what each weighs, in units of which only the ratios matter."""

    ids: list[int]
    weights: list[int]


@dataclass(frozen=True)
class NgramSpec:
    """n-grams of `minimum` to `maximum` characters within `<word>`, and whole words, hashed into 1..buckets-1.

    `spelling` 1 reads words without hamza, and runs of three Arabic letters or more as one letter. Beside the words'
    own n-grams there are those of 2 to `skeleton` characters of a word without its vowels, of 3 to `gaps` characters of
    a word with one character inside left out (the same as those of the word misspelt so), and of `joined` characters of
    the text without its spaces; 0 leaves each out. At most `length` n-grams of a text are kept. 0 is padding.

    With `head` 0 every n-gram weighs the same each time it occurs. Otherwise each counts once; a word's n-grams share
    the weight 1 / (1 + words before it / `head`), at least a fifth, each with one over the root of their number.
    """

    minimum: int = 2
    maximum: int = 4
    buckets: int = 65_536
    length: int = 1024
    # what encoders saved before these settings were known have: off
    spelling: int = 0
    skeleton: int = 0
    joined: int = 0
    head: int = 0
    gaps: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.minimum <= self.maximum:
            raise ValueError(f"n-grams of {self.minimum} to {self.maximum} characters are impossible")
        if self.buckets < 2 or self.length < 1:
            raise ValueError(f"buckets {self.buckets} and length {self.length} must be at least 2 and 1")
        if self.spelling not in (0, 1):
            raise ValueError(f"spelling {self.spelling} must be 0 or 1")
        if self.skeleton not in (0, *range(2, 9)) or self.joined not in (0, *range(2, 9)) or self.head < 0:
            raise ValueError(
                f"skeleton {self.skeleton} and joined {self.joined} must be 0 or 2 to 8, head {self.head} at least 0"
            )
        if self.gaps not in (0, *range(3, 9)):
            raise ValueError(f"gaps {self.gaps} must be 0 or 3 to 8")

    def settings(self) -> dict[str, int]:
        return asdict(self)

    def bag(self, text: str) -> Bag:
        """The n-grams of one normalised text, in order of their words."""
        # "10مل" and "10 مل" are the same to a shopper: digits, letters and signs are cut apart
        words = (self.spelling and _PIECES.findall(_RUN.sub(r"\1", text.translate(_HAMZA)))) or _PIECES.findall(text)
        ids: list[int] = []
        weights: list[int] = []
        shares: list[int] = []
        for place, word in enumerate(words):
            found = _word_ids(word, self.minimum, self.maximum, self.skeleton, self.gaps, self.buckets)
            shares.append(self._share(place, len(found)))
            ids.extend(found)
            weights.extend(shares[-1:] * len(found))
            if len(ids) >= self.length:
                break
        if self.joined:
            for gram, place in _across(words[: len(shares)], self.joined):
                ids.append(_code(f"_{gram}", self.buckets))
                weights.append(shares[place])
        if self.head:
            heaviest: dict[int, int] = {}
            for one, weight in zip(ids, weights, strict=True):
                if weight > heaviest.get(one, 0):
                    heaviest[one] = weight
            ids, weights = list(heaviest), list(heaviest.values())
        return Bag(ids[: self.length], weights[: self.length])

    def _share(self, place: int, grams: int) -> int:
        if not self.head:
            return 1
        return round(UNIT * max(_LEAST, 1 / (1 + place / self.head)) / math.sqrt(grams))

    def batch(self, texts: Sequence[str]) -> tuple[Int64, Int64]:
        """Padded ids and weights, both [B, L] with L the longest of the batch and at least 1."""
        return pad([self.bag(text) for text in texts])


def pad(bags: Sequence[Bag]) -> tuple[Int64, Int64]:
    """Ids and weights as zero-padded arrays [B, L]."""
    length = max((len(bag.ids) for bag in bags), default=1) or 1
    ids = np.zeros((len(bags), length), np.int64)
    weights = np.zeros((len(bags), length), np.int64)
    for place, bag in enumerate(bags):
        ids[place, : len(bag.ids)] = bag.ids
        weights[place, : len(bag.ids)] = bag.weights
    return ids, weights


def _across(words: Sequence[str], size: int) -> Iterator[tuple[str, int]]:
    """Every n-gram of the words' letters and digits without their spaces, and the word that it starts in."""
    kept = [(place, word) for place, word in enumerate(words) if word[0].isalnum()]
    text = "".join(word for _, word in kept)
    start = 0
    for place, word in kept:
        for at in range(start, min(start + len(word), len(text) - size + 1)):
            yield text[at : at + size], place
        start += len(word)


@lru_cache(maxsize=200_000)
def _word_ids(word: str, minimum: int, maximum: int, skeleton: int, gaps: int, buckets: int) -> tuple[int, ...]:
    grams = _grams(word, minimum, maximum)
    if len(word) + 2 > maximum:
        grams.append(f"<{word}>")
    if skeleton and word[0].isalpha():
        consonants = _VOWELS.sub("", word)
        if len(consonants) > 1:
            grams += [f"={gram}" for gram in _grams(consonants, 2, skeleton)]
            if len(consonants) + 2 > skeleton:
                grams.append(f"=<{consonants}>")
    if gaps and word[0].isalpha():
        known = set(grams)
        grams += dict.fromkeys(gram for gram in _gapped(word, gaps) if gram not in known)
    return tuple(_code(gram, buckets) for gram in grams)


def _gapped(word: str, maximum: int) -> Iterator[str]:
    """N-grams of 3 to `maximum` characters that `<word>` has once one character between their ends is left out."""
    bounded = f"<{word}>"
    for size in range(3, maximum + 1):
        for start in range(len(bounded) - size):
            window = bounded[start : start + size + 1]
            yield from (window[:place] + window[place + 1 :] for place in range(1, size))


def _grams(word: str, minimum: int, maximum: int) -> list[str]:
    bounded = f"<{word}>"
    return [
        bounded[start : start + size]
        for size in range(minimum, maximum + 1)
        for start in range(len(bounded) - size + 1)
    ]


@lru_cache(maxsize=200_000)
def _code(gram: str, buckets: int) -> int:
    return zlib.crc32(gram.encode("utf-8", "replace")) % (buckets - 1) + 1
