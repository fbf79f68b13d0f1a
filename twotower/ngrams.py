"""Hashed character n-grams of words: the tokenizer of the catalogue encoder.

Noisy Arabic (missing hamza, ة for ه, clitics, glued words) shares most of its character n-grams with the clean form
where word pieces fall apart; hashing needs no vocabulary (Bojanowski et al., 2017, arXiv:1607.04606).
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Int64 = NDArray[np.int64]
_PIECES = re.compile(r"[^\W\d_]+|\d+(?:[.,]\d+)?|[^\w\s]+|_+")


@dataclass(frozen=True)
class NgramSpec:
    """n-grams of `minimum` to `maximum` characters within `<word>`, and whole words, hashed into 1..buckets-1.

    At most `length` n-grams of a text are kept. 0 is padding.
    """

    minimum: int = 2
    maximum: int = 4
    buckets: int = 65_536
    length: int = 1024

    def __post_init__(self) -> None:
        if not 1 <= self.minimum <= self.maximum:
            raise ValueError(f"n-grams of {self.minimum} to {self.maximum} characters are impossible")
        if self.buckets < 2 or self.length < 1:
            raise ValueError(f"buckets {self.buckets} and length {self.length} must be at least 2 and 1")

    def settings(self) -> dict[str, int]:
        return asdict(self)

    def ids(self, text: str) -> list[int]:
        """The n-gram ids of one normalised text, in order, repeated where they repeat."""
        found: list[int] = []
        # "10مل" and "10 مل" are the same to a shopper: digits, letters and signs are cut apart
        for word in _PIECES.findall(text):
            found.extend(_word_ids(word, self.minimum, self.maximum, self.buckets))
            if len(found) >= self.length:
                return found[: self.length]
        return found

    def batch(self, texts: Sequence[str]) -> tuple[Int64, Int64]:
        """Padded ids and mask, both [B, L] with L the longest of the batch and at least 1."""
        return pad([self.ids(text) for text in texts])


def pad(rows: Sequence[Sequence[int]]) -> tuple[Int64, Int64]:
    """Rows of ids as a zero-padded array [B, L] and its 0/1 mask."""
    length = max((len(row) for row in rows), default=1) or 1
    ids = np.zeros((len(rows), length), np.int64)
    mask = np.zeros((len(rows), length), np.int64)
    for place, row in enumerate(rows):
        ids[place, : len(row)] = row
        mask[place, : len(row)] = 1
    return ids, mask


@lru_cache(maxsize=200_000)
def _word_ids(word: str, minimum: int, maximum: int, buckets: int) -> tuple[int, ...]:
    bounded = f"<{word}>"
    grams = [
        bounded[start : start + size]
        for size in range(minimum, maximum + 1)
        for start in range(len(bounded) - size + 1)
    ]
    if len(bounded) > maximum:
        grams.append(bounded)
    return tuple(zlib.crc32(gram.encode("utf-8", "replace")) % (buckets - 1) + 1 for gram in grams)
