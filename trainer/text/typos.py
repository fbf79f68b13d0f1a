"""Typo augmentation: variants of titles that the catalogue encoder learns to read."""

from __future__ import annotations

import random


def augment_title(text: str, draw: random.Random) -> str:
    """A title as a shopper or seller might write it.

    Words are dropped, moved, misspelled or joined, and a number (a price) is added, each with its own probability.
    """
    words = text.split()
    if len(words) > 2 and draw.random() < 0.3:
        # Numbers stay: sizes and doses distinguish products.
        words = [word for word in words if word[0].isdigit() or draw.random() > 0.2] or words
    if len(words) > 1 and draw.random() < 0.2:
        place = draw.randrange(len(words))
        words.insert(draw.randrange(len(words)), words.pop(place))
    words = [_misspell(word, draw) if draw.random() < 0.2 else word for word in words]
    if len(words) > 1 and draw.random() < 0.3:
        place = draw.randrange(len(words) - 1)
        words[place : place + 2] = [words[place] + words[place + 1]]
    if draw.random() < 0.15:
        words.insert(draw.choice((0, len(words))), str(draw.randrange(1, 1000)))
    return " ".join(words)


def _misspell(word: str, draw: random.Random) -> str:
    return add_typo(word, draw) if len(word) > 2 else word


def add_typo(text: str, draw: random.Random) -> str:
    """`text` with one typo in a letter or digit: deleted (most often), transposed, substituted or repeated."""
    places = [place for place, character in enumerate(text) if character.isalnum()]
    if not places:
        return text
    place = draw.choice(places)
    before, own, after = text[:place], text[place], text[place + 1 :]
    match draw.randrange(8):
        case 0 | 1 | 2:
            return before + after
        case 3 | 4 if after[:1].isalnum():
            return before + after[0] + own + after[1:]
        case 5:
            return before + own + own + after
        case _:
            return before + text[draw.choice(places)] + after
