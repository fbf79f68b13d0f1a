"""Which pairs of products occur together more often than by chance, and by how much."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse

from trainer.config.schema import Together
from trainer.fit.together.groups import Groups, Shopping
from twotower.arrays import Float64, Int64, Mask


class Pairs(NamedTuple):
    """Ordered pairs of products [P], in the order of `row` and `column`.

    `observed`: the weight of the groups that hold both. `expected`: what it would be if groups were filled by chance.
    `unit`: the weight of an average pair.
    """

    row: Int64
    column: Int64
    observed: Float64
    expected: Float64
    unit: float

    def take(self, chosen: Mask) -> Pairs:
        """Some of the pairs."""
        return Pairs(self.row[chosen], self.column[chosen], self.observed[chosen], self.expected[chosen], self.unit)

    def lift(self, shrinkage: float) -> Float64:
        """Observed over expected, drawn towards 1 by `shrinkage` average pairs that are as expected."""
        more = shrinkage * self.unit
        return (self.observed + more) / (self.expected + more)


class _Source(NamedTuple):
    """The pairs of baskets, or of sessions: [N, N] in how many groups, and their weight, without the diagonal."""

    counts: sparse.csr_matrix
    weights: sparse.csr_matrix
    groups: int
    holding: Float64  # [N]: groups that hold the product

    @property
    def total(self) -> float:
        return float(self.weights.sum())


def log_likelihood_ratio(both: ArrayLike, first: ArrayLike, second: ArrayLike, total: float) -> Float64:
    """G2 of the table of groups with both, with either and with neither of two products (Dunning 1993).

    It has one degree of freedom: 10.83 is exceeded by chance once in a thousand times.
    """
    k, a, b = (np.asarray(one, np.float64) for one in (both, first, second))
    cells = (
        (k, a * b),
        (a - k, a * (total - b)),
        (b - k, (total - a) * b),
        (total - a - b + k, (total - a) * (total - b)),
    )
    return np.asarray(2 * sum(_part(seen, product / total) for seen, product in cells))


def _part(seen: Float64, expected: Float64) -> Float64:
    safe = np.where(seen > 0, seen, 1.0)
    return np.where(seen > 0, safe * np.log(safe / np.where(expected > 0, expected, 1.0)), 0.0)


def significant_pairs(shopping: Shopping, settings: Together) -> Pairs:
    """The pairs whose products occur together in enough groups, and more often than by chance; both orders of each."""
    sources = [_source(one, settings.size_power) for one in shopping]
    shares = (1.0, settings.session_weight)
    kept = sum(_is_significant(one, settings) for one in sources).tocoo()
    order = np.lexsort((kept.col, kept.row))
    row, column = kept.row[order].astype(np.int64), kept.col[order].astype(np.int64)
    observed, expected = np.zeros(len(row)), np.zeros(len(row))
    for source, share in zip(sources, shares, strict=True):
        if not share or not source.total:
            continue
        margins = np.asarray(source.weights.sum(axis=1)).ravel()
        observed += share * np.asarray(source.weights[row, column]).ravel() if len(row) else 0.0
        expected += share * margins[row] * margins[column] / source.total
    above = observed > expected
    unit = _unit(sources, shares)
    return Pairs(row[above], column[above], observed[above], expected[above], unit)


def _source(groups: Groups, size_power: float) -> _Source:
    members = groups.members
    weights = np.where(groups.sizes > 1, groups.weights(size_power), 0.0)
    counts = _without_diagonal(members.T @ members)
    weighed = _without_diagonal(members.T @ sparse.diags(weights) @ members)
    return _Source(counts, weighed, members.shape[0], np.asarray(members.sum(axis=0)).ravel())


def _is_significant(source: _Source, settings: Together) -> sparse.csr_matrix:
    """1 [N, N] for pairs that pass both tests in these groups."""
    pairs = source.counts.tocoo()
    ratio = log_likelihood_ratio(pairs.data, source.holding[pairs.row], source.holding[pairs.col], source.groups)
    passes = (pairs.data >= settings.min_groups) & (ratio >= settings.min_ratio)
    ones = np.ones(int(passes.sum()))
    return sparse.csr_matrix((ones, (pairs.row[passes], pairs.col[passes])), shape=source.counts.shape)


def _unit(sources: list[_Source], shares: tuple[float, ...]) -> float:
    weight = sum(share * one.total for one, share in zip(sources, shares, strict=True))
    count = sum(float(one.counts.sum()) for one, share in zip(sources, shares, strict=True) if share)
    return weight / count if count else 1.0


def _without_diagonal(matrix: sparse.csr_matrix) -> sparse.csr_matrix:
    matrix = matrix.tocsr()
    matrix.setdiag(0)
    matrix.eliminate_zeros()
    return matrix
