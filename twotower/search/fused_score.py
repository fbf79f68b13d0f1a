"""The fused score: inner product of the vectors, plus the neighbours of a buyer's last products, plus a prior.

A product p has, for a buyer's vector u and history h_1 (newest), h_2, ..., the score

    vector_weight x <u, v_p>
    + neighbour_weight x the sum of decay^(i - 1) x T[h_i, p] for i = 1 to steps
    + prior_weight x prior[p]
    + own_weight x the sum of own_decay^(i - 1) over the i <= own_steps with h_i = p

The weights are the manifest's `fusion`; T is the table of neighbours. The services, `recommend` and the publish gate
compute it here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from twotower.arrays import Float32, Int32, Int64
from twotower.artifact.layout import VersionLayout
from twotower.artifact.manifest import Fusion
from twotower.artifact.version import Version
from twotower.errors import CorruptArtifact
from twotower.search.neighbours import (
    Entries,
    History,
    NeighbourTable,
    SparseScores,
    own_entries,
    step_weights,
    sum_entries,
)

# histories whose entries are added up together: for more, the arrays would be fresh pages each time
_TOGETHER = 16
_NOBODY = np.empty(0, np.int32)


class FusedScore:
    """The weighted parts of one version's score over N products.

    `base` [N] is the weighted prior, None without one; the newest `steps` products of a history count.
    """

    def __init__(self, fusion: Fusion, size: int, neighbours: NeighbourTable | None, prior: Float32 | None) -> None:
        """`size` is N; `prior` [N]. A part without weight is not computed and may be None.

        Raises CorruptArtifact if a part with a weight is missing or is of another number of products.
        """
        self.size = size
        self.vector_weight = np.float32(fusion.vector_weight)
        self.neighbours = _fitting(neighbours, fusion.neighbour_weight, size) if fusion.neighbour_weight else None
        self.base = _weighted(prior, fusion.prior_weight, size) if fusion.prior_weight else None
        self._weights = step_weights(fusion.steps, fusion.decay, fusion.neighbour_weight)
        own_steps = fusion.own_steps if fusion.own_weight else 0
        self._own_weights = step_weights(own_steps, fusion.own_decay, fusion.own_weight)
        self.steps = fusion.history_steps

    @classmethod
    def load(cls, version: Version) -> FusedScore:
        """Maps the files of a version's score; they must be verified. Raises CorruptArtifact if one does not fit."""
        files, fusion, size = version.layout, version.manifest.fusion, version.manifest.products
        neighbours = prior = None
        if fusion.neighbour_weight:
            neighbours = NeighbourTable.load(files)
            neighbours.check(size)
        if fusion.prior_weight:
            prior = load_prior(files)
        return cls(fusion, size, neighbours, prior)

    @property
    def is_plain(self) -> bool:
        """True if the score is the weighted inner product alone."""
        return not self._reads_history and self.base is None and bool(self.vector_weight > 0)

    @property
    def entries_per_history(self) -> float:
        """How many numbers a long history adds up, on average."""
        own = float(len(self._own_weights))
        if self.neighbours is None:
            return own
        return own + len(self._weights) * len(self.neighbours.rows) / max(self.size, 1)

    @property
    def _reads_history(self) -> bool:
        return self.neighbours is not None or len(self._own_weights) > 0

    def followers(self, product: int) -> Int32:
        """The rows of the products that are known to follow one, rising."""
        return _NOBODY if self.neighbours is None else self.neighbours.following(product)

    def added(self, histories: Sequence[History]) -> Float32:
        """What the scores of all products hold beside the weighted inner products, for each history [B, N]."""
        if self.base is None:
            added = np.zeros((len(histories), self.size), np.float32)
        else:
            added = np.tile(self.base, (len(histories), 1))
        for start in range(0, len(histories), _TOGETHER):
            block = added[start : start + _TOGETHER].reshape(-1)
            for places, scores in self._entries(histories[start : start + _TOGETHER]):
                np.add.at(block, places, scores)
        return added

    def added_to_neighbours(self, history: History) -> SparseScores:
        """The same numbers, to the last bit, for the products to which the history adds something."""
        parts = self._entries([history])
        return sum_entries(parts, self.base) if parts else SparseScores(np.empty(0, np.int64), np.empty(0, np.float32))

    def by_product(self, history: History, rows: Int64) -> Float32:
        """What each of the newest `steps` products of a history [S] adds to the scores of some rows: [K, S]."""
        newest = history[: self.steps]
        adds = np.zeros((len(rows), len(newest)), np.float32)
        for place, product in enumerate(newest):
            if place < len(self._own_weights):
                adds[rows == product, place] += self._own_weights[place]
            if self.neighbours is not None and place < len(self._weights):
                table = self.neighbours
                part = slice(table.offsets[product], table.offsets[product + 1])
                _, ours, theirs = np.intersect1d(rows, table.rows[part], assume_unique=True, return_indices=True)
                adds[ours, place] += table.scores[part][theirs] * self._weights[place]
        return adds

    def _entries(self, histories: Sequence[History]) -> list[Entries]:
        """What the products of each history add to the scores, as neighbours and as themselves."""
        parts = [] if self.neighbours is None else [self.neighbours.entries(histories, self._weights)]
        return [*parts, own_entries(histories, self._own_weights, self.size)] if len(self._own_weights) else parts


def fused_files(files: VersionLayout, fusion: Fusion) -> list[Path]:
    """The files of a version's score, to be verified before it is loaded: none for a part without weight."""
    table = [files.neighbour_offsets, files.neighbour_rows, files.neighbour_scores]
    return (table if fusion.neighbour_weight else []) + ([files.prior] if fusion.prior_weight else [])


def load_prior(files: VersionLayout) -> Float32:
    """Reads a version's prior [N]; the file must be verified. Raises CorruptArtifact if it cannot be read."""
    try:
        prior: Float32 = np.load(files.prior, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise CorruptArtifact(f"{files.prior} cannot be read: {error}") from error
    return prior


def _fitting(neighbours: NeighbourTable | None, weight: float, size: int) -> NeighbourTable:
    if neighbours is None:
        raise CorruptArtifact(f"no neighbours are there, their weight is {weight}")
    if len(neighbours.offsets) != size + 1:
        raise CorruptArtifact(f"neighbour_offsets holds {len(neighbours.offsets)} numbers for {size} products")
    return neighbours


def _weighted(prior: Float32 | None, weight: float, size: int) -> Float32:
    """The weighted prior [N]. Raises CorruptArtifact if it does not fit."""
    if prior is None:
        raise CorruptArtifact(f"no prior is there, its weight is {weight}")
    if prior.dtype != np.float32 or prior.shape != (size,):
        raise CorruptArtifact(f"the prior is {prior.dtype} {list(prior.shape)}, wanted float32 [{size}]")
    wrong = np.flatnonzero(~((prior >= 0) & (prior <= 1)))
    if len(wrong):
        raise CorruptArtifact(f"the prior of row {wrong[0]} is {prior[wrong[0]]}, it must be from 0 to 1")
    return prior * np.float32(weight)
