"""The table of neighbours: for each product, the products that follow it, with their scores.

A sparse matrix [N, N] in compressed rows: product p's neighbours are `rows[offsets[p] : offsets[p + 1]]`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

import numpy as np

from twotower.arrays import Float32, Int32, Int64
from twotower.artifact.layout import VersionLayout
from twotower.errors import CorruptArtifact
from twotower.search.ranking import distinct

# rows of the products in a history, newest first
History = Sequence[int] | Int32 | Int64


class SparseScores(NamedTuple):
    """Rows [M], rising, and the score of each [M]; every other row has the score 0."""

    rows: Int64
    scores: Float32


class Entries(NamedTuple):
    """Numbers to add to the scores of a batch of histories: places in a flat [B x N] and the numbers, each [E].

    Those of one history come in its order. A place may occur several times.
    """

    places: Int64
    scores: Float32


@dataclass(frozen=True)
class NeighbourTable:
    """`offsets` [N + 1]; `rows` [E], rising among the neighbours of one product; `scores` [E], above 0."""

    offsets: Int64
    rows: Int32
    scores: Float32

    @classmethod
    def load(cls, files: VersionLayout) -> NeighbourTable:
        """Maps the three files; they must be verified. Raises CorruptArtifact if one cannot be read."""
        paths = (files.neighbour_offsets, files.neighbour_rows, files.neighbour_scores)
        try:
            # plain views: each index operation on numpy's mapped-file class costs a microsecond more
            return cls(*(np.asarray(np.load(path, mmap_mode="r", allow_pickle=False)) for path in paths))
        except (OSError, ValueError, EOFError) as error:
            raise CorruptArtifact(f"the table of neighbours in {files.root} cannot be read: {error}") from error

    def save(self, files: VersionLayout) -> None:
        """Writes the three files."""
        np.save(files.neighbour_offsets, self.offsets, allow_pickle=False)
        np.save(files.neighbour_rows, self.rows, allow_pickle=False)
        np.save(files.neighbour_scores, self.scores, allow_pickle=False)

    def check(self, size: int) -> None:
        """Raises CorruptArtifact if this is no table of `size` products."""
        for name, column, wanted in (
            ("neighbour_offsets", self.offsets, np.int64),
            ("neighbour_rows", self.rows, np.int32),
            ("neighbour_scores", self.scores, np.float32),
        ):
            if column.ndim != 1 or column.dtype != wanted:
                raise CorruptArtifact(f"{name} is {column.dtype} {list(column.shape)}, wanted {np.dtype(wanted)} [E]")
        if len(self.offsets) != size + 1:
            raise CorruptArtifact(f"neighbour_offsets holds {len(self.offsets)} numbers for {size} products")
        if self.offsets[0] != 0 or (self.offsets[1:] < self.offsets[:-1]).any():
            raise CorruptArtifact("neighbour_offsets does not rise from 0")
        if not self.offsets[-1] == len(self.rows) == len(self.scores):
            raise CorruptArtifact(
                f"neighbour_offsets ends with {self.offsets[-1]}, there are {len(self.rows)} rows and "
                f"{len(self.scores)} scores"
            )
        _refuse_first(self.rows, (self.rows < 0) | (self.rows >= size), "neighbour_rows", f"no row of {size} products")
        falls = self.rows[1:] <= self.rows[:-1]
        starts = self.offsets[(self.offsets > 0) & (self.offsets < len(self.rows))]
        falls[starts - 1] = False
        _refuse_first(self.rows[1:], falls, "neighbour_rows", "not above the row before it")
        _refuse_first(
            self.scores, ~((self.scores > 0) & (self.scores < np.inf)), "neighbour_scores", "no finite number above 0"
        )

    def following(self, product: int) -> Int32:
        """The rows of a product's neighbours, rising."""
        return self.rows[self.offsets[product] : self.offsets[product + 1]]

    def score_history(self, history: History, steps: int, decay: float) -> SparseScores:
        """The sums of `decay`^i x the scores of the neighbours of product i, for i = 0 (newest) to `steps` - 1."""
        return sum_entries([self.entries([history], step_weights(steps, decay))])

    def entries(self, histories: Sequence[History], weights: Float32) -> Entries:
        """The neighbours of each history's newest products; those of the i-th newest are weighted by `weights[i]`."""
        newest = [history[: len(weights)] for history in histories]
        products = _joined(newest)  # [P]
        starts = self.offsets[products]
        counts = self.offsets[products + 1] - starts
        where = (starts - counts.cumsum() + counts).repeat(counts)  # [E]
        where += np.arange(len(where))
        scores = self.scores[where]
        scores *= _weights_of(newest, weights).repeat(counts)
        places = _begins(newest, len(self.offsets) - 1).repeat(counts)
        places += self.rows[where]
        return Entries(places, scores)


def own_entries(histories: Sequence[History], weights: Float32, size: int) -> Entries:
    """The products of each history themselves, of `size` in all; the i-th newest is weighted by `weights[i]`."""
    newest = [history[: len(weights)] for history in histories]
    return Entries(_begins(newest, size) + _joined(newest), _weights_of(newest, weights))


def sum_entries(parts: Sequence[Entries], base: Float32 | None = None) -> SparseScores:
    """The sums of one history's entries, part after part; the sum of a row begins with its number in `base` [N]."""
    places = np.concatenate([one.places for one in parts])
    rows = distinct(places)
    sums = np.zeros(len(rows), np.float32) if base is None else base[rows]
    np.add.at(sums, rows.searchsorted(places), np.concatenate([one.scores for one in parts]))
    return SparseScores(rows, sums)


def _joined(histories: Sequence[History]) -> Int64:
    return np.array(list(chain.from_iterable(histories)), np.int64)


def _weights_of(histories: Sequence[History], weights: Float32) -> Float32:
    return np.concatenate([weights[: len(history)] for history in histories])


def _begins(histories: Sequence[History], size: int) -> Int64:
    """Where the numbers of each product's history begin in a flat [B x N]."""
    return np.array([place * size for place, history in enumerate(histories) for _ in history], np.int64)


def step_weights(steps: int, decay: float, weight: float = 1.0) -> Float32:
    """`weight` x `decay`^i for each of the newest `steps` interactions, newest first."""
    return (weight * decay ** np.arange(steps)).astype(np.float32)


def _refuse_first(values: Int32 | Float32, wrong: np.ndarray, name: str, problem: str) -> None:
    places = np.flatnonzero(wrong)
    if len(places):
        raise CorruptArtifact(f"{name} holds {values[places[0]]}, which is {problem} ({len(places)} such entries)")
