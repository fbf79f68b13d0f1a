"""Synonyms of shops: the file that ships, and a shop's own file over it.

One group a line: "a، b، c" is two-way, "a، b > c، d" one-way. "-a، b" in a shop's file takes words out of the groups
before it. "#" begins a comment.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from item_service.query.query import fold
from twotower.errors import InvalidInput
from twotower.text.words import split_words, stem

# how much a synonym counts beside the word itself; a one-way one is often wider
TWO_WAY, ONE_WAY = 0.9, 0.7
Key = tuple[str, ...]
_ARTICLE, _SHORTEST = "ال", 3
# phrases whose forms are remembered: those of the groups, and of the queries of late
_REMEMBERED = 50_000


class Synonym(NamedTuple):
    """A word or phrase that another one may be replaced by, normalised, with its weight."""

    text: str
    weight: float


@lru_cache(_REMEMBERED)
def key_of(text: str) -> Key:
    """The stems of the words of a text: another form of a word or phrase has the same."""
    return tuple(map(stem, split_words(fold(text))))


@dataclass(frozen=True)
class Synonyms:
    """The synonyms of each phrase, without articles; `forms`: the phrases with the same stems; `words`: the stems of
    those that are one word.
    """

    table: Mapping[str, tuple[Synonym, ...]]
    forms: Mapping[Key, tuple[str, ...]]
    words: frozenset[str]
    # by the first word of the phrases, without its article, and by its stem: the words of the longest of them
    starts: Mapping[str, int]
    stem_starts: Mapping[str, int]
    longest: int

    @classmethod
    def of(cls, *sources: Iterable[tuple[int, str]], name: str = "synonyms") -> Synonyms:
        """The groups of all sources of numbered lines, later ones laid over earlier ones.

        Raises InvalidInput, which names the line, for a line that is no group.
        """
        table: dict[str, dict[str, float]] = {}
        for lines in sources:
            for number, line in lines:
                _add_line(table, line.partition("#")[0].strip(), f"{name}, line {number}")
        frozen = {text: _sorted(found) for text, found in table.items() if found}
        forms: defaultdict[Key, list[str]] = defaultdict(list)
        for text in frozen:
            forms[key_of(text)].append(text)
        words = frozenset(key[0] for key in forms if len(key) == 1)
        return cls(
            frozen,
            {key: tuple(texts) for key, texts in forms.items()},
            words,
            _longest_by_start(text.split() for text in frozen),
            _longest_by_start(forms),
            max(map(len, forms), default=1),
        )

    def longest_from(self, word: str) -> int:
        """The words of the longest phrase with synonyms that may begin with a word of letters; 0 for none."""
        spelled = _spelled(word)
        found = max(self.starts.get(_bare(spelled), 0), self.stem_starts.get(stem(spelled), 0))
        return min(found, self.longest)

    def get(self, text: str, in_other_forms: bool = True) -> tuple[Synonym, ...]:
        """The synonyms of a word or phrase, the best first; if it has none, those of its other forms.

        Two words may have one stem ("شمعات", "شمع"): a word that stands in a group itself has only its own synonyms.
        """
        bare = _bare(_spelled(text))
        if bare in self.table or not in_other_forms:
            return self.table.get(bare, ())
        found: dict[str, float] = {}
        for form in self.forms.get(key_of(text), ()):
            found |= {one.text: max(one.weight, found.get(one.text, 0.0)) for one in self.table[form]}
        return _sorted(found)


@lru_cache(_REMEMBERED)
def _spelled(text: str) -> str:
    return " ".join(split_words(fold(text)))


def _longest_by_start(phrases: Iterable[Sequence[str]]) -> dict[str, int]:
    longest: defaultdict[str, int] = defaultdict(int)
    for words in phrases:
        if words:
            longest[words[0]] = max(longest[words[0]], len(words))
    return dict(longest)


def _bare(text: str) -> str:
    """The words without their articles."""
    return " ".join(
        word.removeprefix(_ARTICLE) if len(word) >= len(_ARTICLE) + _SHORTEST else word for word in text.split()
    )


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


def _add_line(table: dict[str, dict[str, float]], line: str, place: str) -> None:
    if not line:
        return
    left, arrow, right = line.removeprefix("-").partition(">")
    sides = [
        [" ".join(split_words(fold(text))) for text in side.replace("،", ",").split(",") if text.strip()]
        for side in (left, right)
    ]
    empty = any(not text for side in sides for text in side)
    if empty or not sides[0] or (arrow and not sides[1]) or (line[0] == "-" and arrow):
        raise InvalidInput("synonyms", line, f"{place}: is no group such as 'a، b', 'a > b' or '-a'")
    if line[0] == "-":
        _remove(table, set(map(_bare, sides[0])))
        return
    if len(sides[0]) + len(sides[1]) < 2:
        raise InvalidInput("synonyms", line, f"{place}: holds one word only; '-' before it takes it out")
    weight = ONE_WAY if arrow else TWO_WAY
    for one in sides[0]:
        known = table.setdefault(_bare(one), {})
        for other in sides[1] if arrow else sides[0]:
            if other != one:
                known[other] = max(known.get(other, 0.0), weight)


def _remove(table: dict[str, dict[str, float]], texts: set[str]) -> None:
    for text in texts:
        table.pop(text, None)
    for found in table.values():
        for text in [text for text in found if _bare(text) in texts]:
            del found[text]


def _sorted(found: Mapping[str, float]) -> tuple[Synonym, ...]:
    return tuple(Synonym(text, weight) for text, weight in sorted(found.items(), key=lambda one: (-one[1], one[0])))
