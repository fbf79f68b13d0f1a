"""How both monoliths rank: by vector and by the neighbours of the last products, as the version's manifest says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import faiss
import numpy as np

from twotower.arrays import Float32, Int64
from twotower.artifact.version import Version
from twotower.search.neighbours import NeighbourTable


class Ranking:
    """The index, the vectors and the table of neighbours of a version; without a table the index alone ranks."""

    def __init__(self, version: Version) -> None:
        fusion = version.manifest.fusion
        self._index: Any = faiss.read_index(str(version.layout.index))
        self._is_flat = isinstance(self._index, faiss.IndexFlat)
        self._vectors: Float32 = np.asarray(np.load(version.layout.embeddings, mmap_mode="r"))
        self._table = NeighbourTable.load(version.layout) if fusion.neighbour_weight else None
        self._weights = [fusion.neighbour_weight * fusion.decay**step for step in range(fusion.steps)]

    def best(self, vector: Float32, rows: Sequence[int], k: int) -> tuple[Float32, Int64]:
        """Scores and rows of the best `k` products for a buyer's vector [D] and history (rows, oldest first)."""
        table = self._table
        if table is None:
            scores, found = self._index.search(vector[None], k)
            return scores[0], found[0]
        added = np.zeros(len(self._vectors), np.float32)
        for row, weight in zip(rows[::-1], self._weights, strict=False):
            entries = slice(table.offsets.item(row), table.offsets.item(row + 1))
            added[table.rows[entries]] += np.float32(weight) * table.scores[entries]
        if self._is_flat:
            added += self._vectors @ vector
            candidates, scores = None, added
        else:
            # only the best k by vector can be better than all products with neighbours' scores
            candidates = np.union1d(self._index.search(vector[None], k)[1][0], np.flatnonzero(added))
            scores = self._vectors[candidates] @ vector + added[candidates]
        best = np.argpartition(-scores, min(k, len(scores)) - 1)[:k]
        best = best[np.argsort(-scores[best])]
        return scores[best], best if candidates is None else candidates[best]
