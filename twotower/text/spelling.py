"""Whether one word may be another one misspelt."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import takewhile

# a shorter word becomes any other one with one letter changed
_SHORTEST = 3


def is_misspelt(word: str, other: str) -> bool:
    """Whether one letter left out, added or wrong, or two neighbours swapped, turn one word into the other.

    False if either has fewer than three letters.
    """
    if abs(len(word) - len(other)) > 1 or min(len(word), len(other)) < _SHORTEST:
        return False
    start = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(word, other, strict=False)))
    shorter, longer = sorted((word[start:], other[start:]), key=len)
    if len(shorter) < len(longer):
        return longer[1:] == shorter
    return longer[1:] == shorter[1:] or (longer[:2] == shorter[1::-1] and longer[2:] == shorter[2:])


def holds_misspelt(words: Iterable[str], word: str) -> bool:
    """Whether `word` may be one of the words misspelt."""
    return any(is_misspelt(word, one) for one in words)
