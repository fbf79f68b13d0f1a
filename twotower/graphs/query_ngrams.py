"""What was learned from searches: for some n-grams a vector that is added where a query has them, and nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from twotower.arrays import Float32, Int64
from twotower.errors import CorruptArtifact


class QueryNgrams(NamedTuple):
    """Ids [R] of n-grams, rising, and what is added to their vectors [R, E] in queries."""

    ids: Int64
    added: Float32

    @classmethod
    def load(cls, ids: Path, added: Path, buckets: int, dimension: int) -> QueryNgrams:
        """Raises CorruptArtifact if the files do not fit an encoder with so many `buckets` and dimensions."""
        try:
            found = cls(np.load(ids, allow_pickle=False), np.load(added, allow_pickle=False))
        except (OSError, ValueError) as error:
            raise CorruptArtifact(f"{ids.name} and {added.name} cannot be read: {error}") from error
        want = (len(found.ids), dimension)
        if found.ids.dtype != np.int64 or found.added.dtype != np.float32 or found.added.shape != want:
            raise CorruptArtifact(
                f"{added} holds {found.added.dtype} {list(found.added.shape)} for {len(found.ids)} n-grams, wanted "
                f"float32 {list(want)}"
            )
        inside = len(found.ids) == 0 or (found.ids[0] > 0 and found.ids[-1] < buckets)
        if not inside or (np.diff(found.ids) <= 0).any() or not np.isfinite(found.added).all():
            raise CorruptArtifact(f"{ids} holds no rising ids of 1 to {buckets - 1} with finite vectors")
        return found

    def save(self, ids: Path, added: Path) -> None:
        np.save(ids, self.ids, allow_pickle=False)
        np.save(added, self.added, allow_pickle=False)

    def vectors(self, sums: Float32, ids: Int64, mask: Int64) -> Float32:
        """Unit vectors [B, E] from the weighted sums [B, E] of the n-grams `ids` [B, L] with weights `mask` [B, L]."""
        learned = sums.copy()
        if len(self.ids):
            place = np.searchsorted(self.ids, ids).clip(max=len(self.ids) - 1)
            rows, columns = np.nonzero((self.ids[place] == ids) & (mask != 0))
            weights = mask[rows, columns].astype(np.float32)[:, None]
            np.add.at(learned, rows, weights * self.added[place[rows, columns]])
        length = np.linalg.norm(learned, axis=1, keepdims=True)
        vectors: Float32 = np.divide(learned, length, out=learned, where=length > 0)
        return vectors
