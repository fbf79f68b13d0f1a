"""The words to look for: those of the query and their alternatives, in groups."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from item_service.query.alignment import is_arabizi
from item_service.query.query import Query
from twotower.text.words import is_number, parts_of, split_words

# a longer query is a text, and its own words say enough; the retrieval service takes a thousand words
_MAX_EXPLAINED = 64


class QueryWord(NamedTuple):
    """A word to look for. Words of one group are alternatives for one word of the query."""

    text: str
    weight: float
    is_number: bool
    group: int


def words_of(query: Query) -> list[QueryWord]:
    """The words of the text, each with its alternatives; each word once in a group, with its highest weight."""
    groups: list[dict[str, float]] = []
    # the groups of each word of the text
    places: list[tuple[str, list[int]]] = []
    for word in query.words:
        parts = [part for part in parts_of(word) if not (is_arabizi(word) and is_number(part))]
        places.append((word, list(range(len(groups), len(groups) + len(parts)))))
        groups += [{part: 1.0} for part in parts]
    explained = query.alternatives if len(groups) <= _MAX_EXPLAINED else {}
    for phrase, alternatives in explained.items():
        for start, size in _found(phrase.split(), query.words):
            own = [group for _, members in places[start : start + size] for group in members]
            for alternative in alternatives:
                _add(groups, own, split_words(alternative.text), alternative.weight)
    return [
        QueryWord(text, round(weight, 3), is_number(text), place)
        for place, group in enumerate(groups)
        for text, weight in group.items()
        if weight > 0
    ]


def _add(groups: list[dict[str, float]], own: list[int], parts: list[str], weight: float) -> None:
    """Adds an alternative to the groups that it stands for: one word to each, a phrase of as many words word by word.

    A phrase of another number of words has no place among them; the vector is blended with it.
    """
    pairs = [(group, parts[0]) for group in own] if len(parts) == 1 else list(zip(own, parts, strict=False))
    if len(parts) in (1, len(own)):
        for group, part in pairs:
            groups[group][part] = max(groups[group].get(part, 0.0), weight)


def _found(phrase: list[str], words: list[str]) -> Iterator[tuple[int, int]]:
    size = len(phrase)
    return ((start, size) for start in range(len(words) - size + 1) if words[start : start + size] == phrase)
