"""The matrix of buyers by products, and the size of the product co-occurrence matrix."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from trainer.data.events import Events
from trainer.data.split import Cases
from twotower.arrays import Int64

# Pairs of products of one buyer, summed over buyers: the most entries that an item-to-item matrix may have.
MOST_PAIRS = 300_000_000


def training_matrix(events: Events, train_stop: Int64, products: int) -> sparse.csr_matrix:
    """Buyers by products [B, N]: 1 if the buyer has a training event with the product, else 0."""
    chosen = np.arange(len(events.buyer)) < train_stop[events.buyer]
    ones = np.ones(int(chosen.sum()), np.float32)
    shape = (len(events.start) - 1, products)
    matrix = sparse.csr_matrix((ones, (events.buyer[chosen], events.product[chosen])), shape=shape)
    matrix.data[:] = 1  # csr_matrix sums duplicates
    return matrix


def item_pairs(events: Events, train_stop: Int64, products: int) -> int:
    """An upper bound on the entries of the item-to-item matrix; above MOST_PAIRS, item-kNN is left out."""
    sizes = np.minimum(train_stop - events.start[:-1], products).astype(np.float64)
    return int(min(float((sizes**2).sum()), float(products) ** 2))


def item_similarities(events: Events, train_stop: Int64, products: int) -> sparse.csr_matrix:
    """Cosines [N, N] of products over the training matrix, without those of a product with itself."""
    matrix = training_matrix(events, train_stop, products)
    norms = np.sqrt(np.asarray(matrix.sum(axis=0)).ravel())
    scaled = matrix @ sparse.diags(1 / np.maximum(norms, 1e-12))
    similar = (scaled.T @ scaled).tocsr()
    similar.setdiag(0)
    similar.eliminate_zeros()
    return similar


def history_matrix(events: Events, cases: Cases, products: int, steps: int, decay: float) -> sparse.csr_matrix:
    """Weights [B, N] of the products in histories: 1 for the newest of `steps` interactions, `decay` times as much at
    each step back; those of a repeated product add up."""
    sizes = np.minimum(cases.cut - cases.start, steps)
    back = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)  # 0 = newest
    places = np.repeat(cases.cut, sizes) - 1 - back
    rows = np.repeat(np.arange(len(cases)), sizes)
    values = (decay**back).astype(np.float32)
    return sparse.csr_matrix((values, (rows, events.product[places])), shape=(len(cases), products))


def keep_largest(matrix: sparse.csr_matrix, count: int) -> sparse.csr_matrix:
    """The largest `count` entries of each row, columns rising; of equal entries, those of the smaller columns."""
    matrix = matrix.sorted_indices()
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    order = np.lexsort((-matrix.data, rows))  # stable, and keeps each row's entries together
    kept = np.sort(order[np.arange(len(order)) - matrix.indptr[rows] < count])
    pointers = np.concatenate(([0], np.cumsum(np.bincount(rows[kept], minlength=matrix.shape[0]))))
    return sparse.csr_matrix((matrix.data[kept], matrix.indices[kept], pointers), shape=matrix.shape)
