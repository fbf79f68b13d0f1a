"""Counts the words of a catalogue for search_words.json, in one pass over its products."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache

from twotower.artifact.catalogue import Product
from twotower.artifact.search_words import SearchWords
from twotower.text.denials import find_denials
from twotower.text.normalise import Normaliser
from twotower.text.words import split_words

_fold = Normaliser.profile("full")
_clean = Normaliser.profile("light")
# titles share their words, and a phrase has up to three of them
_fold_word = lru_cache(200_000)(_fold)
# a phrase does not cross these, nor begin or end with a word that joins others
_SEGMENT = re.compile(r"[^\w\s]+")
_JOINING = frozenset(
    [
        "من",
        "في",
        "مع",
        "على",
        "الى",
        "عن",
        "او",
        "و",
        "لا",
        "ما",
        "ضد",
        "بدون",
        "غير",
        "ب",
        "ل",
        "of",
        "for",
        "and",
        "with",
        "the",
        "in",
        "to",
        "a",
    ]
) | {"إلى"}
_PHRASE_WORDS = 3
# words of a title that are read for phrases: what the product is stands at its start
_READ_WORDS = 8
_MAX_PHRASES = 50_000


class WordCounter:
    """Counts the words of the products that pass through it."""

    def __init__(self) -> None:
        self._words: Counter[str] = Counter()
        self._brands: Counter[str] = Counter()
        self._categories: Counter[str] = Counter()
        self._denials: Counter[str] = Counter()
        # folded phrase -> how titles write it
        self._phrases: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def count(self, products: Iterable[Product]) -> Iterator[Product]:
        """The same products."""
        for product in products:
            self._add(product)
            yield product

    def search_words(self, queries: Mapping[str, int], learned: Mapping[str, int]) -> SearchWords:
        """What was counted and searched; of the phrases those that two titles have, the most frequent 50,000."""
        totals = {folded: forms.total() for folded, forms in self._phrases.items()}
        kept = sorted((folded for folded, count in totals.items() if count > 1), key=lambda one: (-totals[one], one))
        phrases = {self._phrases[one].most_common(1)[0][0]: totals[one] for one in kept[:_MAX_PHRASES]}
        counted = (self._words, self._brands, self._categories, phrases, self._denials, queries, learned)
        return SearchWords(*map(dict, counted))

    def _add(self, product: Product) -> None:
        title = split_words(_fold(product.title))
        self._words.update(set(title))
        for name, table in ((product.brand, self._brands), (product.category, self._categories)):
            if shown := _clean(name):
                table[shown] += 1
        self._denials.update({" ".join(title[start : end + 1]) for start, end in find_denials(title)})
        for phrase in set(_phrases(_clean(product.title))):
            self._phrases[" ".join(map(_fold_word, phrase.split()))][phrase] += 1


def _phrases(title: str) -> Iterator[str]:
    """Every one to three neighbouring words of a title without numbers that begin and end with a noun."""
    for segment in _SEGMENT.split(" ".join(title.split()[:_READ_WORDS])):
        words = segment.split()
        for start in range(len(words)):
            for end in range(start + 1, min(start + _PHRASE_WORDS, len(words)) + 1):
                if _is_phrase(words[start:end]):
                    yield " ".join(words[start:end])


def _is_phrase(words: Sequence[str]) -> bool:
    ends = {words[0], words[-1]}
    return all(word.isalpha() for word in words) and not ends & _JOINING and all(len(word) > 1 for word in ends)
