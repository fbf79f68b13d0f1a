"""Synonyms of shops: the file that ships, and a shop's own file over it.

One group a line: "a، b، c" is two-way, "a، b > c، d" one-way. "-a، b" in a shop's file takes words out of the groups
before it. "#" begins a comment.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from item_service.query.query import fold
from twotower.errors import InvalidInput
from twotower.text.words import split_words, stem

# how much a synonym counts beside the word itself; a one-way one is often wider
TWO_WAY, ONE_WAY = 0.9, 0.7
Key = tuple[str, ...]


class Synonym(NamedTuple):
    """A word or phrase that another one may be replaced by, normalised, with its weight."""

    text: str
    weight: float


def key_of(text: str) -> Key:
    """What a word or phrase is looked up by: the stems of its words."""
    return tuple(map(stem, split_words(fold(text))))


@dataclass(frozen=True)
class Synonyms:
    """The synonyms of each phrase by its key; `words`: the stems of those that are one word."""

    table: Mapping[Key, tuple[Synonym, ...]]
    words: frozenset[str]
    longest: int

    @classmethod
    def of(cls, *sources: Iterable[tuple[int, str]], name: str = "synonyms") -> Synonyms:
        """The groups of all sources of numbered lines, later ones laid over earlier ones.

        Raises InvalidInput, which names the line, for a line that is no group.
        """
        table: dict[Key, dict[str, float]] = {}
        for lines in sources:
            for number, line in lines:
                _add_line(table, line.partition("#")[0].strip(), f"{name}, line {number}")
        frozen = {key: _sorted(found) for key, found in table.items() if found}
        words = frozenset(key[0] for key in frozen if len(key) == 1)
        return cls(frozen, words, max(map(len, frozen), default=1))

    def get(self, key: Key) -> tuple[Synonym, ...]:
        return self.table.get(key, ())


@cache
def shipped_lines() -> tuple[tuple[int, str], ...]:
    """The numbered lines of synonyms.txt."""
    text = files(__package__).joinpath("synonyms.txt").read_text(encoding="utf-8")
    return tuple(enumerate(text.splitlines(), start=1))


def read_lines(path: Path) -> list[tuple[int, str]]:
    """The numbered lines of a shop's file. Raises InvalidInput if it cannot be read as UTF-8 text."""
    try:
        return list(enumerate(path.read_text(encoding="utf-8-sig").splitlines(), start=1))
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput("synonyms", str(path), f"cannot be read: {error}") from None


class _Phrase(NamedTuple):
    key: Key
    text: str


def _phrase(text: str) -> _Phrase:
    words = split_words(fold(text))
    return _Phrase(tuple(map(stem, words)), " ".join(words))


def _add_line(table: dict[Key, dict[str, float]], line: str, place: str) -> None:
    if not line:
        return
    left, arrow, right = line.removeprefix("-").partition(">")
    sides = [[_phrase(text) for text in side.replace("،", ",").split(",") if text.strip()] for side in (left, right)]
    empty = any(not phrase.key for side in sides for phrase in side)
    if empty or not sides[0] or (arrow and not sides[1]) or (line[0] == "-" and arrow):
        raise InvalidInput("synonyms", line, f"{place}: is no group such as 'a، b', 'a > b' or '-a'")
    if line[0] == "-":
        _remove(table, {phrase.key for phrase in sides[0]})
        return
    if len(sides[0]) + len(sides[1]) < 2:
        raise InvalidInput("synonyms", line, f"{place}: holds one word only; '-' before it takes it out")
    weight = ONE_WAY if arrow else TWO_WAY
    for one in sides[0]:
        known = table.setdefault(one.key, {})
        for other in sides[1] if arrow else sides[0]:
            if other.text != one.text:
                known[other.text] = max(known.get(other.text, 0.0), weight)


def _remove(table: dict[Key, dict[str, float]], keys: set[Key]) -> None:
    for key in keys:
        table.pop(key, None)
    for found in table.values():
        for text in [text for text in found if tuple(map(stem, text.split())) in keys]:
            del found[text]


def _sorted(found: Mapping[str, float]) -> tuple[Synonym, ...]:
    return tuple(Synonym(text, weight) for text, weight in sorted(found.items(), key=lambda one: (-one[1], one[0])))
