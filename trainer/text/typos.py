"""Misspellings and slips that the catalogue encoder learns to read."""

from __future__ import annotations

import random


def noised(text: str, draw: random.Random) -> str:
    """A shopper's or seller's version of a title: words dropped or moved, spaces lost, characters changed, a price."""
    words = text.split()
    if len(words) > 2 and draw.random() < 0.3:
        # sizes and doses tell products apart: numbers stay
        words = [word for word in words if word[0].isdigit() or draw.random() > 0.2] or words
    if len(words) > 1 and draw.random() < 0.2:
        place = draw.randrange(len(words))
        words.insert(draw.randrange(len(words)), words.pop(place))
    words = [_misspelt(word, draw) if draw.random() < 0.2 else word for word in words]
    if len(words) > 1 and draw.random() < 0.3:
        place = draw.randrange(len(words) - 1)
        words[place : place + 2] = [words[place] + words[place + 1]]
    if draw.random() < 0.15:
        words.insert(draw.choice((0, len(words))), str(draw.randrange(1, 1000)))
    return " ".join(words)


def _misspelt(word: str, draw: random.Random) -> str:
    return slipped(word, draw) if len(word) > 2 else word


def slipped(text: str, draw: random.Random) -> str:
    """`text` with one of its letters or digits left out (most often), swapped with the next, written for or twice."""
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
