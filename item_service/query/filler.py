"""Leaves out the words around a wish: greetings, "I want", "do you have", "which is the best"."""

from __future__ import annotations

from collections.abc import Mapping
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
def _longest_from() -> Mapping[str, int]:
    """By the first word of filler phrases, with and without "و" before it: the words of the longest of them."""
    longest: dict[str, int] = {}
    for phrase in filler_phrases():
        for first in (phrase[0], f"و{phrase[0]}"):
            longest[first] = max(longest.get(first, 0), len(phrase))
    return longest


# what a wish begins with: before it stands why it is wished for, and after a reason so does the same
_WISH = frozenset(
    [
        "ابغي",
        "ابغا",
        "ابي",
        "نبي",
        "نبغي",
        "بغيت",
        "ودي",
        "بدي",
        "بدنا",
        "عايز",
        "عايزه",
        "عاوز",
        "عاوزه",
        "محتاج",
        "محتاجه",
        "احتاج",
        "نحتاج",
        "اريد",
        "نريد",
        "اود",
        "ارغب",
        "خصني",
        "خاصني",
        "بغا",
        "حابب",
        "حابه",
        "ادور",
        "ابحث",
        "اطلب",
        "want",
        "need",
    ]
)
_REASON = frozenset(["عشان", "علشان", "منشان", "مشان", "لان", "لانه", "لانها", "لاني", "because"])
# of a text with fewer words before the wish, or after the reason, every word counts
_CONTEXT = 3
# Egyptians and Syrians say it for a face, but not where a question begins
_FACE = "وش"


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
    words, kept = _wish(query.words, known), list[str]()
    phrases = filler_phrases()
    longest = _longest_from()
    place = 0
    while place < len(words):
        for size in range(min(longest.get(words[place], 0), len(words) - place), 0, -1):
            part = words[place : place + size]
            if _is_filler(part, phrases, known) and not (part == [_FACE] and kept):
                place += size
                break
        else:
            kept.append(words[place])
            place += 1
    if not any(map(known.is_known, kept)):
        return query
    return query.rewritten("filler", " ".join(kept))


def _wish(words: list[str], known: KnownWords) -> list[str]:
    """The words of a message from its wish on, up to its reason, where products have words of this part."""
    start = next((place for place, word in enumerate(words) if word.removeprefix("و") in _WISH), 0)
    if start >= _CONTEXT and _names_product(words[start + 1 :], known):
        words = words[start:]
    end = next((place for place, word in enumerate(words) if word in _REASON), len(words))
    if len(words) - end > 1 and end >= _CONTEXT and _names_product(words[:end], known):
        words = words[:end]
    return words


def _names_product(words: list[str], known: KnownWords) -> bool:
    return any(known.in_catalogue(word) and (word,) not in filler_phrases() for word in words)
