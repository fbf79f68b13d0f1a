"""Which pairs of products occur together more often than by chance, and by how much."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse

from trainer.config.schema import Together
from trainer.fit.together.groups import Groups, Shopping
from twotower.arrays import Float64, Int64, Mask

# pairs of products that are in memory at once, as far as those of one product allow
_BLOCK_PAIRS = 10_000_000


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
    """Baskets, or sessions: their `members` [G, N], the same by product [N, G], and the weight of each [G].

    `holding` [N]: groups that hold the product.
    """

    members: sparse.csr_matrix
    by_product: sparse.csr_matrix
    weights: Float64
    holding: Float64


class _Counts(NamedTuple):
    """The pairs of some products in one source, without those of a product with itself: in how many groups, and their
    weight, [rows, N]."""

    counts: sparse.csr_matrix
    weights: sparse.csr_matrix


class _Block(NamedTuple):
    """Significant pairs of some products: `row` and `column` [P], and their weight in each source [S, P].

    `margins` [S, rows]: the weight of all pairs of each product. `counted` [S]: the sum of their groups.
    """

    row: Int64
    column: Int64
    observed: Float64
    margins: Float64
    counted: Float64


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
    """The pairs whose products occur together in enough groups, and more often than by chance; both orders of each.

    All pairs of a large shop take gigabytes: those of some products are counted at a time.
    """
    sources = [_source(one, settings.size_power) for one in shopping]
    blocks = [_count_block(sources, first, last, settings) for first, last in _row_blocks(sources)]
    row, column, by_source, margins, counted = (
        np.concatenate(columns, axis=-1) for columns in zip(*blocks, strict=True)
    )
    counted = counted.reshape(-1, len(sources)).sum(axis=0)
    totals, shares = margins.sum(axis=1), (1.0, settings.session_weight)
    observed, expected = np.zeros(len(row)), np.zeros(len(row))
    for weights, margin, total, share in zip(by_source, margins, totals, shares, strict=True):
        if share and total:
            observed += share * weights
            expected += share * margin[row] * margin[column] / total
    above = observed > expected
    weight = sum(share * total for total, share in zip(totals, shares, strict=True))
    count = sum(number for number, share in zip(counted, shares, strict=True) if share)
    return Pairs(row[above], column[above], observed[above], expected[above], float(weight / count) if count else 1.0)


def _source(groups: Groups, size_power: float) -> _Source:
    members = groups.members
    weights = np.where(groups.sizes > 1, groups.weights(size_power), 0.0)
    return _Source(members, members.T.tocsr(), weights, np.asarray(members.sum(axis=0)).ravel())


def _row_blocks(sources: list[_Source]) -> Iterator[tuple[int, int]]:
    """Ranges of products, each with about `_BLOCK_PAIRS` pairs in a source, counted once for each group."""
    pairs = np.max([one.by_product @ np.diff(one.members.indptr) for one in sources], axis=0)
    ends = np.cumsum(pairs)
    first = 0
    while first < len(pairs):
        done = ends[first - 1] if first else 0
        last = max(first + 1, int(np.searchsorted(ends, done + _BLOCK_PAIRS, side="right")))
        yield first, last
        first = last


def _count_block(sources: list[_Source], first: int, last: int, settings: Together) -> _Block:
    """The pairs of the products `first`..`last`."""
    every = [_count(one, first, last) for one in sources]
    passing = [
        _is_significant(one, counts, first, settings).astype(np.float64)
        for one, (counts, _) in zip(sources, every, strict=True)
    ]
    kept = sum(passing[1:], start=passing[0]).tocoo()
    order = np.lexsort((kept.col, kept.row))
    row, column = kept.row[order].astype(np.int64), kept.col[order].astype(np.int64)
    observed = [np.asarray(one.weights[row, column]).ravel() if len(row) else np.zeros(0) for one in every]
    return _Block(
        row + first,
        column,
        np.stack(observed),
        np.stack([np.asarray(one.weights.sum(axis=1)).ravel() for one in every]),
        np.array([one.counts.sum() for one in every]),
    )


def _count(source: _Source, first: int, last: int) -> _Counts:
    rows = source.by_product[first:last]
    counts = _without_own(rows @ source.members, first)
    return _Counts(counts, _without_own((rows @ sparse.diags(source.weights)) @ source.members, first))


def _is_significant(source: _Source, counts: sparse.csr_matrix, first: int, settings: Together) -> sparse.csr_matrix:
    """1 [rows, N] for pairs that pass both tests in these groups; row 0 is product `first`."""
    pairs, groups = counts.tocoo(), source.members.shape[0]
    ratio = log_likelihood_ratio(pairs.data, source.holding[pairs.row + first], source.holding[pairs.col], groups)
    passes = (pairs.data >= settings.min_groups) & (ratio >= settings.min_ratio)
    ones = np.ones(int(passes.sum()))
    return sparse.csr_matrix((ones, (pairs.row[passes], pairs.col[passes])), shape=counts.shape)


def _without_own(matrix: sparse.csr_matrix, first: int) -> sparse.csr_matrix:
    """Without the pairs of a product with itself; row 0 is product `first`."""
    matrix = matrix.tocsr()
    own = matrix.indices == np.repeat(np.arange(matrix.shape[0]) + first, np.diff(matrix.indptr))
    matrix.data[own] = 0
    matrix.eliminate_zeros()
    return matrix
