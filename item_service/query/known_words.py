"""Which words of a query are known: to the catalogue, or to the language of shoppers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from copy import copy
from functools import lru_cache

from item_service.query.alignment import is_arabizi
from item_service.query.query import fold, fold_name
from twotower.artifact.search_words import SearchWords
from twotower.text import words
from twotower.text.words import clitic_stems, is_number, split_words, stem

_REMEMBERED = 50_000
# of a longer name, only the first words are looked up
_NAME_WORDS = 5


class KnownWords:
    """The words of one catalogue, and `others` that are no mistakes: synonyms and the words of questions."""

    def __init__(self, catalogue: SearchWords, others: Collection[str] = ()) -> None:
        self.catalogue = catalogue
        self._others = frozenset(others)
        # shoppers type the same words again and again
        self.is_known = lru_cache(_REMEMBERED)(self._look_up)
        self._brands = {_stems(name): name for name in sorted(catalogue.brands, key=catalogue.brands.__getitem__)}
        names = sorted(catalogue.categories, key=catalogue.categories.__getitem__)
        self._categories = {_stems(name): name for name in names}
        self._stems: Counter[str] = Counter()
        for word, count in catalogue.words.items():
            self._stems[stem(word)] += count
        self._phrases: Counter[tuple[str, ...]] = Counter()
        for phrase, count in catalogue.phrases.items():
            self._phrases[_stems(phrase)] += count
        self._names = frozenset(part for stems in (*self._brands, *self._categories) for part in stems)
        for stems in (*self._brands, *self._categories):
            self._phrases[stems] += 1
        self.brand_words = frozenset(word for name in catalogue.brands for word in split_words(fold(name)))

    def with_others(self, others: Collection[str]) -> KnownWords:
        """The same catalogue with these other words; the tables are shared."""
        known = copy(self)
        known._others = frozenset(others)
        known.is_known = lru_cache(_REMEMBERED)(known._look_up)
        return known

    def brand_in(self, words: Sequence[str]) -> str:
        """The brand that stands among the words, "" for none; the one with the most words."""
        return _name_in(self._brands, words)

    def is_brand(self, words: Sequence[str]) -> bool:
        """Whether the words are the whole name of a brand."""
        return _stems_of(words) in self._brands

    def category_in(self, words: Sequence[str]) -> str:
        """The same for a category."""
        return _name_in(self._categories, words)

    @property
    def words(self) -> Mapping[str, int]:
        return self.catalogue.words

    def in_catalogue(self, word: str) -> bool:
        """Whether every part of a word ("type-c") stands in a title, a brand or a category, up to its ending."""
        parts = parts_of(word)
        return bool(parts) and all(_is_number(part) or self._is_there(part) for part in parts)

    def share(self, words: Collection[str]) -> float:
        """The share of the words that are known; 1 for none."""
        return sum(map(self.is_known, words)) / len(words) if words else 1.0

    def has_phrase(self, phrase: str) -> bool:
        """Whether titles hold a word, or the words of a phrase side by side. No letter before a word is taken off."""
        return self.phrase_count(phrase) > 0

    def phrase_count(self, phrase: str) -> int:
        """How many titles hold a word, or the words of a phrase side by side; 1 for names alone, 0 for rare phrases."""
        parts = words.parts_of(phrase)
        if len(parts) != 1:
            return self._phrases[tuple(map(stem, parts))]
        word = stem(parts[0])
        return 1 if is_number(parts[0]) else self._stems[word] or int(word in self._names)

    def count_as_written(self, phrase: str) -> int:
        """How many titles hold a word in just this form; of a phrase, as `phrase_count`."""
        return self.words.get(phrase, 0) if " " not in phrase else self.phrase_count(phrase)

    def _look_up(self, word: str) -> bool:
        """Whether a word is in the catalogue or one of the others."""
        parts = parts_of(word)
        return bool(parts) and all(self._is_known(part) for part in parts)

    def _is_known(self, word: str) -> bool:
        return _is_number(word) or word in self._others or stem(word) in self._others or self._is_there(word)

    def _is_there(self, word: str) -> bool:
        return self._count(word) > 0 or stem(word) in self._names

    def _count(self, word: str) -> int:
        return self._stems[stem(word)] or max((self._stems[one] for one in clitic_stems(word)), default=0)


def parts_of(word: str) -> Sequence[str]:
    """The words that a word of a query is made of; one of Arabizi ("3oud") is whole."""
    return (word,) if is_arabizi(word) else words.parts_of(word)


def _is_number(part: str) -> bool:
    return is_number(part) and not is_arabizi(part)


def _name_in(names: Mapping[tuple[str, ...], str], words: Sequence[str]) -> str:
    stems = _stems_of(words)
    for size in range(min(len(stems), _NAME_WORDS), 0, -1):
        for start in range(len(stems) - size + 1):
            if name := names.get(stems[start : start + size]):
                return name
    return ""


def _stems_of(words: Sequence[str]) -> tuple[str, ...]:
    # words of letters alone have no part that reaches into the next word, as "200 x 300" has
    if all(map(str.isalpha, words)):
        return tuple(part for word in words for part in _stems(word))
    return _stems(" ".join(words))


@lru_cache(_REMEMBERED)
def _stems(phrase: str) -> tuple[str, ...]:
    return tuple(map(stem, split_words(fold_name(phrase))))
