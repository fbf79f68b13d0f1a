"""vocab.json: maps names of brands and categories to the indices of their embeddings."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from twotower.errors import CorruptArtifact
from twotower.text.normalise import Normaliser

# vocab.json does not record these settings: with others, its names would not be found
_fold = Normaliser(letters=True, teh_marbuta=True)


@dataclass(frozen=True)
class Vocab:
    """Folded name → index from 1; 0 is unknown. Names that differ only in spelling share an index."""

    brand: Mapping[str, int]
    category: Mapping[str, int]

    @classmethod
    def build(cls, brands: Iterable[str], categories: Iterable[str], minimum: int = 1) -> Vocab:
        """Names that occur at least `minimum` times, the most frequent first, ties by name."""
        return cls(_index(brands, minimum), _index(categories, minimum))

    @classmethod
    def load(cls, path: Path) -> Vocab:
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            return cls(dict(content["brand"]), dict(content["category"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CorruptArtifact(f"{path} is not a vocabulary: {error}") from error

    def save(self, path: Path) -> None:
        content = {"brand": dict(self.brand), "category": dict(self.category)}
        path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")

    def brand_index(self, name: str) -> int:
        return self.brand.get(_fold(name), 0) if name else 0

    def category_index(self, name: str) -> int:
        return self.category.get(_fold(name), 0) if name else 0


def _index(names: Iterable[str], minimum: int) -> dict[str, int]:
    counts = Counter(_fold(name) for name in names if name)
    counts.pop("", None)
    kept = sorted((name for name, count in counts.items() if count >= minimum), key=lambda name: (-counts[name], name))
    return {name: place for place, name in enumerate(kept, start=1)}
