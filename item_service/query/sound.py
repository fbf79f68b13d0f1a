"""Finds a catalogue's word by its sound in the other script: "khatem" is خاتم, "لومورا" is Lumora. No dictionary."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from difflib import SequenceMatcher
from functools import lru_cache
from typing import NamedTuple

from item_service.query.alignment import distance, skeletons, sounds
from item_service.query.known_words import KnownWords
from item_service.query.query import Alternative, Query, fold
from twotower.text.words import split_words

# the largest cost of an alignment for each sound of the Latin word
_LIMIT = 0.13
# of a brand that the words of the query are known without, which may be a coincidence
_STRICT_LIMIT = 0.06
# a word that is this much worse than the best is another word
_NEAR = 0.35
_KEPT = 3
# the share of letters in common from which a word is another one misspelt
_MISSPELT = 0.8
_LONGER = 2
_MAX_CANDIDATES = 300
_SHORTEST = 3
_SHORT = 4
_BRAND_WORDS = 3


class Match(NamedTuple):
    """A word of the catalogue in the other script, and the cost of its alignment."""

    text: str
    cost: float


class _Entry(NamedTuple):
    text: str
    # the letters that are aligned, without spaces
    letters: str
    products: int


class SoundIndex:
    """The words and brands of a catalogue by the skeletons of their consonants."""

    def __init__(self, entries: Iterable[tuple[str, int]]) -> None:
        """`entries`: words or names, normalised, with the number of products that have them."""
        self._by_skeleton: defaultdict[str, list[_Entry]] = defaultdict(list)
        for text, products in entries:
            letters = text.replace(" ", "")
            for key in skeletons(letters):
                self._by_skeleton[key].append(_Entry(text, letters, products))
        # shoppers type the same words again and again
        self._nearest = lru_cache(20_000)(self._find)
        self._corrected = lru_cache(20_000)(self._correct)

    def nearest(self, word: str, limit: float = _LIMIT) -> tuple[Match, ...]:
        """The words in the other script that sound like `word`, the best first; none if none sounds nearly so."""
        return tuple(match for match in self._nearest(word) if match.cost <= limit)

    def sounds_known(self, word: str) -> bool:
        """Whether a word of at least four letters sounds so much like one of the catalogue that this is no chance."""
        return len(word) > _SHORTEST and _is_word(word) and bool(self.nearest(word, _STRICT_LIMIT))

    def _find(self, word: str) -> tuple[Match, ...]:
        is_arabic = _is_arabic(word)
        latin = [] if is_arabic else sounds(word)
        found: dict[str, float] = {}
        for entry in self._candidates(word, is_arabic):
            spelled = sounds(entry.letters) if is_arabic else latin
            cost = distance(spelled, word if is_arabic else entry.letters) / max(len(spelled), 1)
            # the same word with more products is the likelier one
            found[entry.text] = min(found.get(entry.text, 9.0), cost - min(entry.products, 100) / 10_000)
        best = sorted(found.items(), key=lambda one: (one[1], one[0]))[: _KEPT * 2]
        return tuple(Match(text, max(cost, 0.0)) for text, cost in best)

    def _candidates(self, word: str, is_arabic: bool) -> list[_Entry]:
        others = [entry for entry in self._entries(word) if _is_arabic(entry.letters) != is_arabic]
        return sorted(others, key=lambda entry: -entry.products)[:_MAX_CANDIDATES]

    def _entries(self, word: str) -> list[_Entry]:
        return [entry for key in _near(skeletons(word)) for entry in self._by_skeleton.get(key, ())]

    def misspelt(self, word: str) -> str:
        """The word of the catalogue in the same script that `word` is a misspelling of, "" for none.

        Digits among Latin letters are Arabizi, which is no misspelling.
        """
        return self._corrected(word) if word.isalpha() else ""

    def _correct(self, word: str) -> str:
        ratios = [
            (SequenceMatcher(None, word, entry.letters).ratio(), entry.products, entry.text)
            for entry in self._entries(word)
            if _is_arabic(entry.letters) == _is_arabic(word) and abs(len(entry.letters) - len(word)) <= _LONGER
        ]
        ratio, _, text = max(ratios, default=(0.0, 0, ""))
        return text if ratio >= _MISSPELT else ""


def sound_index(known: KnownWords) -> SoundIndex:
    """The index of the Arabic words of a catalogue, of its brands, and of their words."""
    # an Arabic word that is not known is a Latin brand or no word of the catalogue at all
    words = [
        (word, known.words.get(word, 1))
        for word in known.words.keys() | known.brand_words
        if word.isalpha() and len(word) >= 2 and (_is_arabic(word) or word in known.brand_words)
    ]
    brands = [(" ".join(split_words(fold(name))), count) for name, count in known.catalogue.brands.items()]
    return SoundIndex([*words, *(one for one in brands if " " in one[0])])


def sound_alike(query: Query, known: KnownWords, index: SoundIndex) -> Query:
    """Replaces unknown words by words of the catalogue in the other script with the same sound.

    Other words that sound so become alternatives, and so do the brands in the other script of words that are known.
    """
    words, kept = query.words, list[str]()
    alternatives = dict(query.alternatives)
    place = 0
    while place < len(words):
        size, matches, is_known = _best_at(words, place, known, index)
        text = " ".join(words[place : place + size])
        place += size
        if not matches:
            kept.append(text)
            continue
        others = [Alternative(match.text, _weight(match, matches[0])) for match in matches]
        if not is_known or (size > 1 and not known.has_phrase(text)):
            text, others = others[0].text, others[1:]
        kept.append(text)
        if others:
            alternatives[text] = (*alternatives.get(text, ()), *others)
    if alternatives != query.alternatives:
        query = replace(query, alternatives=alternatives)
    return query.rewritten("sound", " ".join(kept))


def brands_alike(word: str, known: KnownWords, index: SoundIndex) -> list[str]:
    """The words of brands in the other script that sound like a word of a brand."""
    matches = index.nearest(word, _STRICT_LIMIT) if word in known.brand_words else ()
    return [match.text for match in matches if match.text in known.brand_words]


def _best_at(words: list[str], place: int, known: KnownWords, index: SoundIndex) -> tuple[int, tuple[Match, ...], bool]:
    """How many words from a place sound like what, the most words first, and whether all of them are known."""
    for size in range(min(_BRAND_WORDS, len(words) - place), 0, -1):
        part = words[place : place + size]
        joined = "".join(part)
        if len(joined) < _SHORTEST or not _is_word(joined):
            continue
        is_known = all(map(known.is_known, part))
        if size == 1 and is_known and joined not in known.brand_words:
            break
        misspelt = "" if is_known or size > 1 or not joined.isascii() else index.misspelt(joined)
        # a known word is left alone, and so is one that is only misspelt, unless it sounds just like another
        matches = _kept(index.nearest(joined, _STRICT_LIMIT if is_known or misspelt or _is_short(joined) else _LIMIT))
        if size > 1:
            # two words are one name, or an article and its word
            matches = tuple(one for one in matches if " " in one.text or _has_article(part))
        if is_known:
            # but the brand of a known word may be written in the other script
            matches = tuple(one for one in matches if set(one.text.split()) <= known.brand_words)
        if misspelt:
            cost = matches[0].cost if matches else 0.0
            matches = (*matches, Match(misspelt, cost))
        if matches and (not is_known or set(part) & known.brand_words or size > 1):
            return size, matches, is_known
        if size > 1 and known.is_brand(part):
            # the whole name of a brand means no other brand that has one of its words
            return size, (), True
    return 1, (), True


def _kept(matches: tuple[Match, ...]) -> tuple[Match, ...]:
    return tuple(one for one in matches[:_KEPT] if one.cost <= matches[0].cost + _NEAR * _LIMIT)


def _has_article(part: list[str]) -> bool:
    return len(part) == 2 and part[0] in ("al", "el", "il", "ال")


def _weight(match: Match, best: Match) -> float:
    return round(0.9 - min(match.cost - best.cost, _LIMIT) / _LIMIT, 2)


def _near(keys: set[str]) -> Iterator[str]:
    """The skeletons and those with one consonant less."""
    yield from keys
    shorter = {key[:place] + key[place + 1 :] for key in keys for place in range(len(key)) if len(key) > 3}
    yield from shorter - keys


def _is_short(word: str) -> bool:
    """Whether an Arabic word has so few letters that it sounds like many names."""
    return _is_arabic(word) and len(word) <= _SHORT


def _is_arabic(text: str) -> bool:
    return "ء" <= text[:1] <= "ي"


def _is_word(text: str) -> bool:
    """Whether a word can be spelled by its sound: letters, with digits only where Arabizi has them."""
    return text.isalpha() or (text.isalnum() and sum(letter.isalpha() for letter in text) >= 2 and text.isascii())
