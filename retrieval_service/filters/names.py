"""Brands and categories by the names that a filter gives."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from retrieval_service.filters.allowed import Allowed
from twotower.arrays import Int32
from twotower.text.normalise import Normaliser


class Names:
    """The names of one attribute. A filter value matches a name itself, or else every name with the same folding."""

    def __init__(self, kind: str, names: Sequence[str], codes: Int32, fold: Normaliser) -> None:
        self._kind = kind
        self._codes = codes  # [N]
        self._fold = fold
        self._exact = {name: [code] for code, name in enumerate(names)}
        self._folded: dict[str, list[int]] = defaultdict(list)
        for code, name in enumerate(names):
            self._folded[fold(name)].append(code)

    def codes(self, values: Sequence[str]) -> list[int]:
        """The codes of all names that one of `values` matches."""
        return [code for value in values for code in self._exact.get(value) or self._folded.get(self._fold(value), [])]

    def has(self, name: str) -> bool:
        return name in self._exact

    def allowed(self, values: Sequence[str]) -> Allowed:
        """Allows products of any of `values`: all products if there are no values, none if all values are unknown."""
        if not values:
            return Allowed(None, [])
        chosen = np.zeros(len(self._exact), np.bool_)
        unknown = []
        for value in dict.fromkeys(values):
            codes = self._exact.get(value) or self._folded.get(self._fold(value), [])
            chosen[codes] = True
            if not codes:
                unknown.append(f"{self._kind}={value}")
        return Allowed(chosen[self._codes], unknown)
