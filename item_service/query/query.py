"""A query on its way through the steps: its words, and what the steps have found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import NamedTuple

from twotower.text.normalise import Normaliser, searched_words

fold = Normaliser.profile("full")


_fold_word = lru_cache(50_000)(fold)


def fold_name(text: str) -> str:
    """The same as `fold(text)`, in less time for the many names and phrases of a catalogue: they share their words."""
    return " ".join(map(_fold_word, text.split())) if text.replace(" ", "").isalpha() else fold(text)


class Change(NamedTuple):
    """What a step did: the words before and after it; `after` is empty where words became a filter."""

    step: str
    before: str
    after: str


class Alternative(NamedTuple):
    """Another word for a word of the query, with a weight from 0 to 1."""

    text: str
    weight: float


@dataclass(frozen=True)
class Query:
    """A query as far as it is understood.

    - `original`: as typed. `text`: as the steps have it; after `read`, normalised words with single spaces.
    - `price_min`, `price_max`: limits, both included. `excluded`: words that no product may have.
    - `alternatives`: of a word of `text`, the best first.
    - `brand`, `category`: names of the catalogue that the words hold.
    """

    original: str
    text: str
    price_min: float | None = None
    price_max: float | None = None
    excluded: tuple[str, ...] = ()
    alternatives: Mapping[str, tuple[Alternative, ...]] = field(default_factory=dict)
    brand: str = ""
    category: str = ""
    changes: tuple[Change, ...] = ()

    @property
    def words(self) -> list[str]:
        return self.text.split()

    def rewritten(self, step: str, text: str) -> Query:
        """The query with another text; the same query if it is the same text."""
        if text == self.text:
            return self
        return replace(self, text=text, changes=(*self.changes, Change(step, self.text, text)))

    def noted(self, step: str, before: str, after: str = "") -> Query:
        return replace(self, changes=(*self.changes, Change(step, before, after)))


# the steps before `read` normalise the same text
@lru_cache(64)
def normalised(text: str) -> str:
    """The words of a raw text, normalised, with single spaces."""
    return searched_words(fold(text))


def read(query: Query) -> Query:
    """Normalises the text. This is no step that a shopper should see."""
    return replace(query, text=normalised(query.text))
