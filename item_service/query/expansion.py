"""Puts words of the catalogue beside or in place of those of the query, by synonyms."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from item_service.query.known_words import KnownWords
from item_service.query.query import Alternative, Query
from item_service.query.synonyms import Synonyms, key_of

# the best synonyms by weight and by how many products have them
_KEPT = 6


def expand(query: Query, known: KnownWords, synonyms: Synonyms) -> Query:
    """Replaces phrases that no product has by their most frequent synonym, and notes other synonyms as alternatives.

    The longest phrase counts first. Alternatives are words that the catalogue has. English phrases are turned around:
    what a product is stands last in "gold ring" and first in "خاتم ذهب".
    """
    words = query.words
    kept, english = list[str](), list[str]()
    alternatives = dict(query.alternatives)
    place = 0
    while place < len(words):
        size, found = next(_phrases(words, place, known, synonyms), (1, []))
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
    return replace(query, alternatives=alternatives).rewritten("synonyms", " ".join([*kept, *english]))


def _is_in_catalogue(phrase: str, known: KnownWords) -> bool:
    """Whether products have a phrase: of an Arabic one each word, wherever it stands, of an English one the phrase."""
    words = phrase.split()
    return known.has_phrase(phrase) if phrase.isascii() or len(words) == 1 else all(map(known.in_catalogue, words))


def _phrases(
    words: list[str], place: int, known: KnownWords, synonyms: Synonyms
) -> Iterator[tuple[int, list[Alternative]]]:
    """The phrases at a place that have synonyms in the catalogue, the longest first, with these."""
    for size in range(min(synonyms.longest, len(words) - place), 0, -1):
        phrase = " ".join(words[place : place + size])
        found = [
            (-one.weight, -known.count_as_written(one.text), -known.phrase_count(one.text), one.text)
            # another form of a word that titles write so may be another word: ولادة is no form of ولاد
            for one in synonyms.get(phrase, in_other_forms=phrase not in known.words)
            if known.has_phrase(one.text) and key_of(one.text) != key_of(phrase)
        ]
        if found:
            yield size, [Alternative(text, -weight) for weight, _, _, text in sorted(found)[:_KEPT]]


def _merged(found: list[Alternative]) -> list[Alternative]:
    """One alternative for each stem, the best first."""
    best: dict[tuple[str, ...], Alternative] = {}
    for one in sorted(found, key=lambda one: -one.weight):
        best.setdefault(key_of(one.text), one)
    return list(best.values())
