"""TEMPORARY"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twotower.arrays import Float32, Int64
from twotower.artifact.layout import VersionLayout


@dataclass(frozen=True)
class NeighbourTable:
    offsets: Int64
    rows: NDArray[np.int32]
    scores: Float32

    def save(self, files: VersionLayout) -> None:
        np.save(files.neighbour_offsets, self.offsets, allow_pickle=False)
        np.save(files.neighbour_rows, self.rows, allow_pickle=False)
        np.save(files.neighbour_scores, self.scores, allow_pickle=False)

    @classmethod
    def load(cls, files: VersionLayout) -> NeighbourTable:
        return cls(
            *(
                np.load(p, allow_pickle=False)
                for p in (files.neighbour_offsets, files.neighbour_rows, files.neighbour_scores)
            )
        )
