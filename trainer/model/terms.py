"""What a model adds to the cosines of its vectors: a table of neighbours and a prior."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import sparse

from twotower.arrays import Float32, Int64
from twotower.artifact.layout import VersionLayout
from twotower.artifact.manifest import Fusion
from twotower.search.neighbours import NeighbourTable


class TermChoice(NamedTuple):
    """Which terms a score has, and their weights; an empty name stands for no term.

    `table` and `prior` name the kind; `decay` is the weight of an interaction relative to the next newer one. A pair of
    training events weighs half as much for each `half_life_days`; 0: age does not matter.
    `own_weight` and `own_decay` are those of the history's own products.
    """

    vector_weight: float = 1.0
    table: str = ""
    table_weight: float = 0.0
    decay: float = 0.0
    prior: str = ""
    prior_weight: float = 0.0
    own_weight: float = 0.0
    own_decay: float = 0.0
    half_life_days: float = 0.0

    def describe(self) -> str:
        """The parts of the score in words, e.g. `vectors + transitions x 0.1 (decay 0.4)`."""
        parts = [f"vectors x {self.vector_weight:g}" if self.vector_weight != 1 else "vectors"]
        parts = parts if self.vector_weight else []
        age = f", half-life {self.half_life_days:g} days" if self.half_life_days else ""
        parts += [f"{self.table} x {self.table_weight:g} (decay {self.decay:g}{age})"] if self.table else []
        parts += [f"own products x {self.own_weight:g} (decay {self.own_decay:g})"] if self.own_weight else []
        parts += [f"{self.prior} x {self.prior_weight:g}"] if self.prior else []
        return " + ".join(parts).replace("_", " ")


@dataclass(frozen=True)
class Terms:
    """The weights of the score's parts, the `neighbours` [N, N] and the `prior` [N]; None for a part without weight."""

    fusion: Fusion
    neighbours: sparse.csr_matrix | None = None
    prior: Float32 | None = None

    def save(self, files: VersionLayout) -> None:
        """Writes the arrays that the terms have, and removes those of an earlier fit."""
        for path in (files.neighbour_offsets, files.neighbour_rows, files.neighbour_scores, files.prior):
            path.unlink(missing_ok=True)
        if self.neighbours is not None:
            matrix = self.neighbours.sorted_indices()
            offsets, rows = matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32)
            NeighbourTable(offsets, rows, matrix.data.astype(np.float32)).save(files)
        if self.prior is not None:
            np.save(files.prior, self.prior, allow_pickle=False)

    def moved(self, known: Int64) -> Terms:
        """The terms of another catalogue [M]; `known` [M] is a product's row in this one, -1 if it is new.

        Products that are gone follow none and are followed by none; new ones have no neighbours.
        """
        neighbours = prior = None
        kept = np.flatnonzero(known >= 0)
        if self.neighbours is not None:
            places = (np.ones(len(kept), np.float32), (kept, known[kept]))
            move = sparse.csr_matrix(places, shape=(len(known), self.neighbours.shape[0]))
            neighbours = (move @ self.neighbours @ move.T).tocsr()
        if self.prior is not None:
            prior = np.zeros(len(known), np.float32)
            prior[kept] = self.prior[known[kept]]
            prior = expect_of_new(prior) if self.fusion.vector_weight else prior
        return Terms(self.fusion, neighbours, prior)


def expect_of_new(prior: Float32) -> Float32:
    """The prior [N] where products without events have the mean of the others.

    With nothing, a product that is new could not be found beside those that sell, however near its vector is. Where
    the prior stands without vectors, nothing speaks for a new product.
    """
    sold = prior > 0
    return np.where(sold, prior, prior[sold].mean()).astype(np.float32) if sold.any() else prior


def read_terms(files: VersionLayout, fusion: Fusion) -> Terms:
    """Reads the arrays of the parts that have a weight."""
    neighbours = prior = None
    if fusion.neighbour_weight:
        table = NeighbourTable.load(files)
        size = len(table.offsets) - 1
        neighbours = sparse.csr_matrix((table.scores, table.rows, table.offsets), shape=(size, size))
    if fusion.prior_weight:
        prior = np.load(files.prior, allow_pickle=False)
    return Terms(fusion, neighbours, prior)


NO_TERMS = Terms(Fusion())
