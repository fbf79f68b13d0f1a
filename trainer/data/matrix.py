"""The matrix of buyers and products, and the co-occurrence of products."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from trainer.data.events import Events
from twotower.arrays import Int64

# pairs of products that one buyer has, summed over buyers: what the item-to-item matrix may grow to
MOST_PAIRS = 300_000_000


def training_matrix(events: Events, train_stop: Int64, products: int) -> sparse.csr_matrix:
    """Buyers by products [B, N], 1 where a training event joins them."""
    chosen = np.arange(len(events.buyer)) < train_stop[events.buyer]
    ones = np.ones(int(chosen.sum()), np.float32)
    shape = (len(events.start) - 1, products)
    matrix = sparse.csr_matrix((ones, (events.buyer[chosen], events.product[chosen])), shape=shape)
    matrix.data[:] = 1  # duplicates were summed
    return matrix


def item_pairs(events: Events, train_stop: Int64, products: int) -> int:
    """An upper bound on the entries of the item-to-item matrix, above which `item_knn_scorer` should be left out."""
    sizes = np.minimum(train_stop - events.start[:-1], products).astype(np.float64)
    return int(min(float((sizes**2).sum()), float(products) ** 2))
