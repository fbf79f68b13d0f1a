"""What ranks the products of a query: its vector alone, the fused score for a history, or what follows a product."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from twotower.arrays import Int32
from twotower.artifact.manifest import Fusion
from twotower.errors import InvalidInput
from twotower.search.fused import FusedSearch
from twotower.search.fused_score import FusedScore
from twotower.search.vector_index import VectorIndex
from twotower.serving.wire import newest_products

# for what follows a product: the table of neighbours ranks, and the vectors order what it leaves equal
_NEIGHBOURS_FIRST = Fusion(vector_weight=0.01, neighbour_weight=1.0, steps=1)
_NOBODY = np.empty(0, np.int32)


class Ranking(NamedTuple):
    """A fused search and its history (rows, newest first), or None for the vector alone; `followers`: rows, rising."""

    fused: FusedSearch | None = None
    history: Sequence[int] = ()
    followers: Int32 = _NOBODY


BY_VECTOR = Ranking()


class Rankings:
    """Reads from queries what ranks their products."""

    def __init__(self, index: VectorIndex, score: FusedScore, rows: Mapping[str, int]) -> None:
        """`rows`: product id → row. Raises CorruptArtifact if index and score are of different numbers of products."""
        self.fused = FusedSearch(index, score)
        self.score = score
        self._rows = rows
        self._neighbours_first: FusedSearch | None = None
        if score.neighbours is not None:
            followers = FusedScore(_NEIGHBOURS_FIRST, index.size, score.neighbours, None)
            self._neighbours_first = FusedSearch(index, followers)

    def read(self, history: str, follows: str, field: str) -> Ranking:
        """What ranks a query with this packed history or this product; both may be empty.

        `field` is the query's name in an InvalidInput, which is raised for both at once and for a malformed history.
        """
        if follows:
            if history:
                raise InvalidInput(f"{field}.follows", follows, "must be empty if there is a history")
            return self._after(follows)
        if history:
            return Ranking(self.fused, self._newest(history, f"{field}.history"))
        return BY_VECTOR

    def _after(self, product_id: str) -> Ranking:
        row = self._rows.get(product_id)
        if row is None or self._neighbours_first is None:
            return BY_VECTOR
        followers = self.score.followers(row)
        return Ranking(self._neighbours_first, [row], followers) if len(followers) else BY_VECTOR

    def _newest(self, history: str, field: str) -> list[int]:
        steps = self.score.steps
        products = newest_products(history, steps, field)
        rows = self._known(products)
        if len(rows) < len(products) == steps:
            # unknown products do not count as steps
            rows = self._known(newest_products(history, sys.maxsize, field))
        return rows[:steps]

    def _known(self, product_ids: Sequence[str]) -> list[int]:
        return [row for row in map(self._rows.get, product_ids) if row is not None]
