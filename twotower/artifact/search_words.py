"""search_words.json: the words of a catalogue's titles, brands and categories, for understanding queries."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from twotower.errors import CorruptArtifact


@dataclass(frozen=True)
class SearchWords:
    """Each with the number of products that have it.

    - `words`: of titles, as `twotower.text.words` splits text normalised by profile "full".
    - `brands`, `categories`: names as the shop writes them.
    - `phrases`: one to three words of titles, as most titles write them.
    - `queries`: popular searches, as shoppers type them; the products are those that were chosen after them.
    - `learned`: words of searches that no product has and that the learned n-grams know, with the number of buyers who
      chose a product after them.
    - `denials`: a denied word with the words before it ("بدون عطر"), normalised.
    """

    words: Mapping[str, int]
    brands: Mapping[str, int]
    categories: Mapping[str, int]
    phrases: Mapping[str, int]
    denials: Mapping[str, int]
    queries: Mapping[str, int]
    learned: Mapping[str, int]

    @classmethod
    def load(cls, path: Path) -> SearchWords:
        """Raises CorruptArtifact if the file does not hold exactly these tables of counts."""
        try:
            tables = json.loads(path.read_text(encoding="utf-8"))
            loaded = cls(**tables)
            wrong = [name for name, table in tables.items() if not _counts(table)]
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise CorruptArtifact(f"{path} holds no search words: {error}") from error
        if wrong:
            raise CorruptArtifact(f"{path}: {wrong[0]} is no table of words and counts")
        return loaded

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), ensure_ascii=False), encoding="utf-8")


def _counts(table: object) -> bool:
    return isinstance(table, dict) and all(type(count) is int and count > 0 for count in table.values())
