"""Puts words of the catalogue beside or in place of those of the query, by synonyms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from item_service.query.known_words import KnownWords
from item_service.query.query import Alternative, Query
from item_service.query.synonyms import Synonyms, key_of
from twotower.text.words import parts_of

# the best synonyms by weight and by how many products have them
_KEPT = 6
_REMEMBERED = 20_000


class Expansions:
    """The synonyms of phrases that one catalogue has."""

    def __init__(self, known: KnownWords, synonyms: Synonyms) -> None:
        self.known = known
        self._synonyms = synonyms
        # shoppers type the same words again and again
        self._of = lru_cache(_REMEMBERED)(self._look_up)
        self._from = lru_cache(_REMEMBERED)(self._look_up_start)

    def at(self, words: Sequence[str], place: int) -> tuple[int, tuple[Alternative, ...]]:
        """The words of the longest phrase at a place that has synonyms, with these, the best first; or 1 and none."""
        for size in range(min(self._longest_from(words, place), len(words) - place), 0, -1):
            if found := self._of(" ".join(words[place : place + size])):
                return size, found
        return 1, ()

    def _longest_from(self, words: Sequence[str], place: int) -> int:
        longest = self._from(words[place])
        # a word of several parts, or of none ("ء"), has another count of words
        plain = longest < 2 or all(word.isalpha() and len(parts_of(word)) == 1 for word in words[place:])
        return longest if plain else self._synonyms.longest

    def _look_up_start(self, word: str) -> int:
        plain = word.isalpha() and len(parts_of(word)) == 1
        return self._synonyms.longest_from(word) if plain else self._synonyms.longest

    def _look_up(self, phrase: str) -> tuple[Alternative, ...]:
        known = self.known
        found = [
            (-one.weight, -known.count_as_written(one.text), -known.phrase_count(one.text), one.text)
            # another form of a word that titles write so may be another word: ولادة is no form of ولاد
            for one in self._synonyms.get(phrase, in_other_forms=phrase not in known.words)
            if known.has_phrase(one.text) and key_of(one.text) != key_of(phrase)
        ]
        return tuple(Alternative(text, -weight) for weight, _, _, text in sorted(found)[:_KEPT])


def expand(query: Query, expansions: Expansions) -> Query:
    """Replaces phrases that no product has by their most frequent synonym, and notes other synonyms as alternatives.

    The longest phrase counts first. Alternatives are words that the catalogue has. English phrases are turned around:
    what a product is stands last in "gold ring" and first in "خاتم ذهب".
    """
    words, known = query.words, expansions.known
    kept, english = list[str](), list[str]()
    alternatives = dict(query.alternatives)
    place = 0
    while place < len(words):
        size, found = expansions.at(words, place)
        phrase = " ".join(words[place : place + size])
        place += size
        is_english = phrase.replace(" ", "").isascii() and any(not one.text.isascii() for one in found)
        if found and phrase not in query.alternatives and not _is_in_catalogue(phrase, known):
            phrase, found = found[0].text, found[1:]
        if found:
            alternatives[phrase] = tuple(_merged([*alternatives.get(phrase, ()), *found]))
        if is_english:
            english.insert(0, phrase)
        else:
            kept += [*english, phrase]
            english = []
    if alternatives != query.alternatives:
        query = replace(query, alternatives=alternatives)
    return query.rewritten("synonyms", " ".join([*kept, *english]))


def _is_in_catalogue(phrase: str, known: KnownWords) -> bool:
    """Whether products have a phrase: of an Arabic one each word, wherever it stands, of an English one the phrase."""
    words = phrase.split()
    return known.has_phrase(phrase) if phrase.isascii() or len(words) == 1 else all(map(known.in_catalogue, words))


def _merged(found: list[Alternative]) -> list[Alternative]:
    """One alternative for each stem, the best first."""
    best: dict[tuple[str, ...], Alternative] = {}
    for one in sorted(found, key=lambda one: -one.weight):
        best.setdefault(key_of(one.text), one)
    return list(best.values())
