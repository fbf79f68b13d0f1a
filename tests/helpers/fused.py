"""Fused scores computed from their definition, product by product."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from twotower.arrays import Float32, Float64
from twotower.artifact.catalogue import Product
from twotower.artifact.manifest import Fusion
from twotower.search.neighbours import NeighbourTable


class Parts(NamedTuple):
    """The parts of a fused score: dense neighbours' scores [N, N] and the prior [N]."""

    fusion: Fusion
    following: Float32
    prior: Float32

    @property
    def table(self) -> NeighbourTable:
        return sparse(self.following)


def sparse(following: Float32) -> NeighbourTable:
    """The table of the numbers above 0 in a matrix [N, N]."""
    products, rows = np.nonzero(following)
    offsets = np.searchsorted(products, np.arange(len(following) + 1))
    return NeighbourTable(offsets, rows.astype(np.int32), following[products, rows])


def tiny_parts(fusion: Fusion, products: Sequence[Product], seed: int = 0) -> Parts:
    """The parts of the tiny versions: each product but every fifth is followed by some four others."""
    draw, size = np.random.default_rng([seed, 9]), len(products)
    following = draw.random((size, size), np.float32) * (draw.random((size, size)) < 4 / size)
    following[::5] = 0
    shares = np.array([one.popularity for one in products])
    return Parts(fusion, following, np.sqrt(shares / shares.max()).astype(np.float32))


def fused_scores(parts: Parts, vectors: Float32, query: Float32, history: Sequence[int]) -> Float64:
    """The score of every product [N]; `history` holds rows, newest first."""
    fusion = parts.fusion
    scores = np.zeros(len(vectors))
    for product, vector in enumerate(vectors):
        scores[product] = fusion.vector_weight * float(vector.astype(np.float64) @ query)
        for back, row in enumerate(history[: fusion.steps]):
            scores[product] += fusion.neighbour_weight * fusion.decay**back * float(parts.following[row, product])
        scores[product] += fusion.prior_weight * float(parts.prior[product])
    return scores
