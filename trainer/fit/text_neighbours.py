"""Nearest neighbours by the words of the texts: they place products that no training has placed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from twotower.arrays import Float32, Int64

# neighbours of a product, searched among at most so many reference products, drawn at random
NEAREST, REFERENCES = 30, 10_000
# weight of the neighbours' row in an untrained product's row, and the ridge that gives the neighbours' weights
NEIGHBOUR_WEIGHT, NEIGHBOUR_RIDGE = 0.5, 0.3
# products whose cosines, and whose small linear systems, are in memory at once
_PRODUCTS, _SYSTEMS = 256, 16


@dataclass(frozen=True)
class TextNeighbours:
    """The products' words as vectors [N, V] of length 1, or zero rows without words; `seed` draws the references."""

    words: sparse.csr_matrix
    seed: int

    def weights(self, products: Int64, references: Int64, ridge: float) -> Any:
        """Sparse weights [A, N] of the `references` nearest by words to each of the `products`.

        products [A] and references [R] are row numbers. The weights are those of kernel ridge regression on the
        nearest alone (Saunders et al., ICML 1998): a neighbour weighs less if others say the same, and far ones get
        nearly nothing, so a sum of neighbours is short where little is known. All are zero for a product that shares no
        word with a reference.
        """
        references = self._with_words(references)
        count = min(NEAREST, len(references))
        if not count or not len(products):
            return sparse.csr_matrix((len(products), self.words.shape[0]), dtype=np.float32)
        blocks = list(self._blocks(products, references, count, ridge))
        weights, near = (np.concatenate(column) for column in zip(*blocks, strict=True))
        starts = np.arange(0, near.size + 1, count)
        shape = (len(products), self.words.shape[0])
        return sparse.csr_matrix((weights.ravel(), references[near].ravel(), starts), shape=shape)

    def _with_words(self, references: Int64) -> Int64:
        references = references[np.diff(self.words.indptr)[references] > 0]
        if len(references) > REFERENCES:
            references = np.sort(np.random.default_rng(self.seed).choice(references, REFERENCES, replace=False))
        return references

    def _blocks(
        self, products: Int64, references: Int64, count: int, ridge: float
    ) -> Iterator[tuple[Float32, NDArray[np.intp]]]:
        """Weights [a, count] and places among the references [a, count] of some products at a time."""
        known = self.words[references]
        for first in range(0, len(products), _PRODUCTS):
            cosines = (self.words[products[first : first + _PRODUCTS]] @ known.T).toarray()  # [a, R]
            # a copy: a view would keep the places of all references
            near = np.argpartition(-cosines, count - 1, axis=1)[:, :count].copy()
            nearest = np.take_along_axis(cosines, near, axis=1)
            weights = [
                _solve(known, near[at : at + _SYSTEMS], nearest[at : at + _SYSTEMS], ridge)
                for at in range(0, len(near), _SYSTEMS)
            ]
            yield np.concatenate(weights), near


def _solve(known: sparse.csr_matrix, near: NDArray[np.intp], cosines: Float32, ridge: float) -> Float32:
    """Solves (cosines among the neighbours + ridge) x weights = cosines with the product, for a few products."""
    systems, count = near.shape
    rows = known[near.ravel()]
    every = (rows @ rows.T).toarray().reshape(systems, count, systems, count)
    own = np.arange(systems)
    among = every[own, :, own] + np.float32(ridge) * np.eye(count, dtype=np.float32)  # [a, count, count]
    weights: Float32 = np.linalg.solve(among, cosines[..., None])[..., 0]
    return weights
