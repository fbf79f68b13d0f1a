"""Completes what a shopper types, by any word's beginning: brands, categories, phrases of titles, popular searches."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

import numpy as np

from item_service.query.layout import other_layouts
from item_service.query.query import Query, fold_name, read
from item_service.query.sound import sound_alike
from item_service.query.understanding import Understanding
from twotower.artifact.search_words import SearchWords
from twotower.text.normalise import searched_words

Kind = Literal["phrase", "brand", "category", "query"]
# what a text is ordered by: the logarithm of its products, and these
_AT_START = 2.0
_KINDS: dict[Kind, float] = {"phrase": 0.0, "brand": 0.5, "category": 1.0, "query": 1.0}
# beginnings of words, to look up misspelt words
_PREFIXES = (4, 5, 6)
_LAST = "\U0010ffff"


class Suggestion(NamedTuple):
    """A completion as the shop writes it, and how many products have it; of a popular search, how many it led to."""

    text: str
    kind: Kind
    products: int


class Suggestions:
    """Completions by the beginnings of their words, sorted; one search is a bisection and a partial sort."""

    def __init__(self, words: SearchWords) -> None:
        self._entries = [
            *(Suggestion(text, "category", count) for text, count in words.categories.items()),
            *(Suggestion(text, "brand", count) for text, count in words.brands.items()),
            *(Suggestion(text, "phrase", count) for text, count in words.phrases.items()),
            *(Suggestion(text, "query", count) for text, count in words.queries.items()),
        ]
        tails = sorted(
            (tail, place, math.log1p(entry.products) + _KINDS[entry.kind] + (_AT_START if is_start else 0.0))
            for place, entry in enumerate(self._entries)
            for tail, is_start in _tails(_plain(entry.text))
        )
        self._tails = [tail for tail, _, _ in tails]
        self._places = np.array([place for _, place, _ in tails], np.int64)
        self._scores = np.array([score for _, _, score in tails], np.float64)
        self._misspelt = _deletions({word for tail in self._tails for word in tail.split()[:1]})

    def complete(self, text: str, k: int, understanding: Understanding) -> list[Suggestion]:
        """The k best completions of a text; if it has none, of the text in the other layout, corrected, or by sound."""
        plain = _plain(text)
        if not plain:
            return []
        for reading in dict.fromkeys((plain, plain.removeprefix("ال"))):
            if found := self._starting(reading, k):
                return found
        for reading in self._readings(text, plain, understanding):
            if found := self._starting(reading, k):
                return found
        return []

    def _readings(self, text: str, plain: str, understanding: Understanding) -> Iterator[str]:
        yield from map(_plain, other_layouts(text))
        yield from self._corrected(plain)
        query = read(Query(text, text))
        yield sound_alike(query, understanding.known, understanding.sounds).text
        yield understanding(text).text

    def _starting(self, plain: str, k: int) -> list[Suggestion]:
        first, last = bisect_left(self._tails, plain), bisect_left(self._tails, plain + _LAST)
        if not plain or first == last:
            return []
        scores, places = self._scores[first:last], self._places[first:last]
        # a text may begin twice, and may be written in two ways
        wanted = min(len(scores), 4 * k)
        best = np.argpartition(-scores, wanted - 1)[:wanted]
        found: dict[str, Suggestion] = {}
        for row in best[np.argsort(-scores[best], kind="stable")].tolist():
            entry = self._entries[int(places[row])]
            found.setdefault(_plain(entry.text), entry)
        return list(found.values())[:k]

    def _corrected(self, plain: str) -> Iterator[str]:
        """The text with its last word, or with each word, replaced by words that differ by one letter."""
        words = plain.split()
        for place in range(len(words) - 1, -1, -1):
            for other in self._near(words[place]):
                yield " ".join((*words[:place], other, *words[place + 1 :]))

    def _near(self, word: str) -> list[str]:
        """Beginnings of known words that differ from `word` by one letter: missing, added, changed, or swapped."""
        size = max((size for size in _PREFIXES if size <= len(word)), default=0)
        if not size:
            return []
        found = {other for key in _cut(word[:size]) for other in self._misspelt.get((size, key), ())}
        return sorted({ending for other in found for ending in _beginnings(word, other)})


def _plain(text: str) -> str:
    return searched_words(fold_name(text))


def _tails(plain: str) -> Iterator[tuple[str, bool]]:
    """The text from each of its words on, and whether that is the whole text."""
    words = plain.split()
    return ((" ".join(words[start:]), start == 0) for start in range(len(words)))


def _deletions(words: Iterable[str]) -> dict[tuple[int, str], list[str]]:
    """The words by the beginnings of their spellings with one letter less (Garbe, SymSpell, 2012)."""
    table: defaultdict[tuple[int, str], list[str]] = defaultdict(list)
    for word in sorted(words):
        for size in _PREFIXES:
            for key in _cut(word[:size]):
                table[size, key].append(word)
    return dict(table)


def _cut(beginning: str) -> set[str]:
    return {beginning[:place] + beginning[place + 1 :] for place in range(len(beginning))}


def _beginnings(word: str, other: str) -> Iterator[str]:
    """The beginnings of another word that are one edit away from `word`."""
    for size in (len(word) - 1, len(word), len(word) + 1):
        beginning = other[:size]
        if len(beginning) == size and _is_one_edit(word, beginning):
            yield beginning


def _is_one_edit(one: str, other: str) -> bool:
    start = next((place for place, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), None)
    if start is None:
        return abs(len(one) - len(other)) == 1
    if len(one) == len(other):
        swapped = one[:start] + one[start + 1 : start + 2] + one[start] + one[start + 2 :]
        return one[start + 1 :] == other[start + 1 :] or swapped == other
    longer, shorter = (one, other) if len(one) > len(other) else (other, one)
    return longer[start + 1 :] == shorter[start:]
