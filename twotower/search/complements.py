"""The table of complements: for each product, the products that are bought together with it, best first.

Product p's complements are the entries `offsets[p]` up to `offsets[p + 1]` of `rows`, `scores` and `weights`. The first
`known[p]` of them were measured for the product itself, the others come from its category.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from twotower.arrays import Float32, Int32, Int64, Mask
from twotower.artifact.layout import VersionLayout
from twotower.errors import CorruptArtifact


class Completion(NamedTuple):
    """Products [M], best first, and their scores [M].

    `because` [M]: the place of the cart's product that counts most. `is_known` [M]: measured for that product itself.
    """

    rows: Int64
    scores: Float32
    because: Int64
    is_known: Mask

    def take(self, places: Int64) -> Completion:
        """Some of the products."""
        return Completion(self.rows[places], self.scores[places], self.because[places], self.is_known[places])


@dataclass(frozen=True)
class ComplementTable:
    """`offsets` [N + 1], `known` [N], and for each entry [E] its row, its score above 0 and its weight from 0.

    Scores fall among the entries of one product: above 1 the lift of a measured pair, up to 1 that of the category.
    Weights add up over the products of a cart.
    """

    offsets: Int64
    known: Int32
    rows: Int32
    scores: Float32
    weights: Float32

    @classmethod
    def load(cls, files: VersionLayout) -> ComplementTable:
        """Maps the files; they must be verified. Raises CorruptArtifact if one cannot be read."""
        try:
            return cls(
                *(np.asarray(np.load(path, mmap_mode="r", allow_pickle=False)) for path in complement_files(files))
            )
        except (OSError, ValueError, EOFError) as error:
            raise CorruptArtifact(f"the table of complements in {files.root} cannot be read: {error}") from error

    def save(self, files: VersionLayout) -> None:
        """Writes the files."""
        columns: list[np.ndarray] = [self.offsets, self.known, self.rows, self.scores, self.weights]
        for path, column in zip(complement_files(files), columns, strict=True):
            np.save(path, column, allow_pickle=False)

    def check(self, size: int) -> None:
        """Raises CorruptArtifact if this is no table of `size` products."""
        offsets = self.offsets
        for name, column, wanted in (
            ("offsets", offsets, np.int64),
            ("known", self.known, np.int32),
            ("rows", self.rows, np.int32),
            ("scores", self.scores, np.float32),
            ("weights", self.weights, np.float32),
        ):
            if column.ndim != 1 or column.dtype != wanted:
                raise CorruptArtifact(
                    f"complement_{name} is {column.dtype} {list(column.shape)}, not {wanted.__name__}"
                )
        if len(offsets) != size + 1 or len(self.known) != size:
            raise CorruptArtifact(
                f"complement_offsets holds {len(offsets)} numbers and complement_known {len(self.known)} for {size} "
                "products"
            )
        if offsets[0] != 0 or (np.diff(offsets) < 0).any():
            raise CorruptArtifact("complement_offsets does not rise from 0")
        if not offsets[-1] == len(self.rows) == len(self.scores) == len(self.weights):
            raise CorruptArtifact(
                f"complement_offsets ends with {offsets[-1]}, there are {len(self.rows)} rows, {len(self.scores)} "
                f"scores and {len(self.weights)} weights"
            )
        _refuse(self.rows, (self.rows < 0) | (self.rows >= size), "rows", f"no row of {size} products")
        _refuse(self.known, (self.known < 0) | (self.known > np.diff(offsets)), "known", "more than the product has")
        _refuse(self.scores, ~((self.scores > 0) & (self.scores < np.inf)), "scores", "no finite number above 0")
        _refuse(self.weights, ~((self.weights >= 0) & (self.weights < np.inf)), "weights", "no finite number from 0")

    def complete(self, cart: Sequence[int]) -> Completion:
        """What is bought together with the products of a cart (rows), without these.

        For one product: its list as it stands, by the scores. For several: by the sums of the weights.
        """
        parts = [slice(self.offsets[product], self.offsets[product + 1]) for product in cart]
        rows = np.concatenate([self.rows[part] for part in parts]).astype(np.int64) if parts else np.empty(0, np.int64)
        column = self.scores if len(cart) == 1 else self.weights
        values = np.concatenate([column[part] for part in parts]) if parts else np.empty(0, np.float32)
        sizes = np.array([part.stop - part.start for part in parts], np.int64)
        place = np.repeat(np.arange(len(cart)), sizes)
        position = np.arange(len(rows)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        is_known = position < self.known[np.array(cart, np.int64)][place] if len(rows) else np.empty(0, np.bool_)
        wanted = (values > 0) & ~np.isin(rows, np.array(cart, np.int64))
        return _summed(rows[wanted], values[wanted], place[wanted], is_known[wanted])

    def moved(self, known: Int64) -> ComplementTable:
        """The table of another catalogue [M]; `known` [M] is a product's row in this one, -1 if it is new.

        Products that are gone are no complements; new ones have none.
        """
        size = len(self.known)
        target = np.full(size, -1, np.int64)
        kept = np.flatnonzero(known >= 0)
        target[known[kept]] = kept
        owner = np.repeat(np.arange(size), np.diff(self.offsets))
        measured = np.arange(len(self.rows)) - self.offsets[owner] < self.known[owner]
        stays = (target[owner] >= 0) & (target[self.rows] >= 0)
        # stable: the entries of one product keep their order
        order = np.flatnonzero(stays)[np.argsort(target[owner[stays]], kind="stable")]
        owners = target[owner[order]]
        offsets = np.searchsorted(owners, np.arange(len(known) + 1)).astype(np.int64)
        counts = np.bincount(owners[measured[order]], minlength=len(known)).astype(np.int32)
        rows = target[self.rows[order]].astype(np.int32)
        return ComplementTable(offsets, counts, rows, self.scores[order], self.weights[order])


def complement_files(files: VersionLayout) -> list[Path]:
    """The files of a version's table, in the order of its columns."""
    return [
        files.complement_offsets,
        files.complement_known,
        files.complement_rows,
        files.complement_scores,
        files.complement_weights,
    ]


def _summed(rows: Int64, values: Float32, place: Int64, is_known: Mask) -> Completion:
    """Adds the values of equal rows; of equal sums, the smaller row comes first."""
    # of the entries of one row, the one that counts most stands first
    order = np.lexsort((place, -values, rows))
    rows, values = rows[order], values[order]
    first = np.flatnonzero(np.diff(rows, prepend=-1))
    if not len(first):
        return Completion(rows, values, place[order], is_known[order])
    sums = np.add.reduceat(values, first, dtype=np.float32)
    best = np.lexsort((rows[first], -sums))
    chosen = first[best]
    return Completion(rows[chosen], sums[best], place[order][chosen], is_known[order][chosen])


def _refuse(values: np.ndarray, wrong: np.ndarray, name: str, problem: str) -> None:
    places = np.flatnonzero(wrong)
    if len(places):
        found = values[places[0]]
        raise CorruptArtifact(f"complement_{name} holds {found}, which is {problem} ({len(places)} such entries)")
