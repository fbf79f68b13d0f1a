"""Hashed character n-grams of words and their weights: the tokenizer of the catalogue encoder.

Noisy Arabic (missing hamza, ة for ه, clitics, joined words) shares most of its character n-grams with the clean form,
while word pieces break apart; hashing needs no vocabulary (Bojanowski et al., 2017, arXiv:1607.04606). Names from
another script are spelled with varying vowels but share the n-grams of their consonants. Skip-grams survive a typo,
and n-grams across words survive a missing space. A title begins with what the product is, so earlier words weigh more.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from twotower.arrays import Int64

# A weight of 1, as an integer: weights travel in the attention mask, which is int64.
UNIT = 4096
_MIN_WEIGHT = 0.2
_PIECES = re.compile(r"[^\W\d_]+|\d+(?:[.,]\d+)?|[^\w\s]+|_+")
# The normaliser keeps hamza on و and ي and alone, because these are letters: "مؤمن" and "مومن", "ماء" and "ما".
_HAMZA = {ord("ؤ"): "و", ord("ئ"): "ي", ord("ء"): None}
# "جدييييد": no Arabic word has one letter three times in a row.
_RUN = re.compile("([ا-ي])\\1{2,}")
_VOWELS = re.compile("[اويaeiou]")


# the n-grams of a word, or those that reach from it into the next, with their weight
_Part = tuple[int, tuple[int, ...]]


class Bag(NamedTuple):
    """N-gram ids of one text and their weights; only the ratios of weights matter."""

    ids: list[int]
    weights: list[int]


@dataclass(frozen=True)
class NgramSpec:
    """Which n-grams a text has: those of `minimum` to `maximum` characters of `<word>`, and whole words.

    Ids are hashes in 1..`buckets` - 1; 0 is padding. At most `length` n-grams of a text are kept.

    - `spelling`: 1 removes hamza and shortens runs of three or more Arabic letters to one letter.
    - `skeleton`: n-grams of 2 to this many characters of the word without its vowels; 0 = none.
    - `gaps`: skip-grams, n-grams with one character left out, of 3 up to this length; 0 = none. A word with that
      character missing has the same n-grams.
    - `joined`: n-grams of this length of the text without its spaces; 0 = none.
    - `head`: 0 gives every occurrence of an n-gram the same weight. Otherwise each n-gram counts once, and the n
      n-grams of a word get max(0.2, 1 / (1 + words before it / `head`)) / sqrt(n) each.
    """

    minimum: int = 2
    maximum: int = 4
    buckets: int = 65_536
    length: int = 1024
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
        """The n-grams of one normalised text, in the order of its words."""
        # Digits, letters and signs are separate words: "10مل" and "10 مل" mean the same.
        words = (self.spelling and _PIECES.findall(_RUN.sub(r"\1", text.translate(_HAMZA)))) or _PIECES.findall(text)
        # n-grams of one weight
        parts: list[_Part] = []
        count = 0
        for place, word in enumerate(words):
            found = _word_ids(word, self.minimum, self.maximum, self.skeleton, self.gaps, self.buckets)
            parts.append((self._share(place, len(found)), found))
            count += len(found)
            if count >= self.length:
                break
        if self.joined:
            across = list(_across(words[: len(parts)], self.joined))
            parts += [(parts[place][0], _joined_ids(piece, self.joined, self.buckets)) for place, piece in across]
        if self.head:
            heaviest = _heaviest(parts)
            ids, weights = list(heaviest), list(heaviest.values())
        else:
            ids = [one for _, found in parts for one in found]
            weights = [weight for weight, found in parts for _ in found]
        return Bag(ids[: self.length], weights[: self.length])

    def _share(self, place: int, grams: int) -> int:
        if not self.head:
            return 1
        return round(UNIT * max(_MIN_WEIGHT, 1 / (1 + place / self.head)) / math.sqrt(grams))

    def batch(self, texts: Sequence[str]) -> tuple[Int64, Int64]:
        """Padded ids and weights, both [B, L]; L is the longest text of the batch, at least 1."""
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


def _heaviest(parts: Sequence[_Part]) -> dict[int, int]:
    """The highest weight of each n-gram, in the order of the text."""
    heaviest: dict[int, int] = {}
    weighted = [(weight, _weighted(found, weight)) for weight, found in parts]
    for _, part in weighted:
        heaviest.update(part)
    if len(heaviest) < sum(len(part) for _, part in weighted):
        # of several weights, the highest is written last
        for _, part in sorted(weighted, key=_weight):
            heaviest.update(part)
    return heaviest


@lru_cache(maxsize=10_000)
def _weighted(found: tuple[int, ...], weight: int) -> Mapping[int, int]:
    return dict.fromkeys(found, weight)


def _weight(part: tuple[int, Mapping[int, int]]) -> int:
    return part[0]


def _across(words: Sequence[str], size: int) -> Iterator[tuple[int, str]]:
    """The place of each word, and the piece of the text without spaces and signs whose n-grams begin in it."""
    kept = [(place, word) for place, word in enumerate(words) if word[0].isalnum()]
    text = "".join(word for _, word in kept)
    start = 0
    for place, word in kept:
        yield place, text[start : start + len(word) + size - 1]
        start += len(word)


@lru_cache(maxsize=50_000)
def _joined_ids(piece: str, size: int, buckets: int) -> tuple[int, ...]:
    return tuple(_code(f"_{piece[at : at + size]}", buckets) for at in range(len(piece) - size + 1))


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
    """Skip-grams of `<word>`: n-grams of 3 to `maximum` characters with one inner character left out."""
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
