"""Leaves out the words around a wish: greetings, "I want", "do you have", "which is the best"."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from item_service.query.known_words import KnownWords
from item_service.query.query import Query, fold
from twotower.text.normalise import searched_words


@cache
def filler_phrases() -> frozenset[tuple[str, ...]]:
    """The phrases of filler.txt, each as its normalised words."""
    lines = files(__package__).joinpath("filler.txt").read_text(encoding="utf-8").splitlines()
    texts = (line.partition("#")[0] for line in lines)
    phrases = (searched_words(fold(phrase)).split() for text in texts for phrase in text.split("،"))
    return frozenset(tuple(phrase) for phrase in phrases if phrase)


@cache
def filler_words() -> frozenset[str]:
    """Every word of these phrases."""
    return frozenset(word for phrase in filler_phrases() for word in phrase)


def _is_filler(words: list[str], phrases: frozenset[tuple[str, ...]], known: KnownWords) -> bool:
    """Whether words are a filler phrase, with or without "و" before it; a brand is none."""
    if known.brand_words.intersection(words):
        return False
    return tuple(words) in phrases or (words[0][:1] == "و" and (words[0][1:], *words[1:]) in phrases)


def drop_filler(query: Query, known: KnownWords) -> Query:
    """Leaves out filler phrases; the query stays as it is unless a word of the catalogue is left."""
    words, kept = query.words, list[str]()
    phrases = filler_phrases()
    longest = max(map(len, phrases))
    place = 0
    while place < len(words):
        for size in range(min(longest, len(words) - place), 0, -1):
            if _is_filler(words[place : place + size], phrases, known):
                place += size
                break
        else:
            kept.append(words[place])
            place += 1
    if not any(map(known.is_known, kept)):
        return query
    return query.rewritten("filler", " ".join(kept))
