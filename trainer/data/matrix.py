"""The matrix of buyers by products, and the size of the product co-occurrence matrix."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from trainer.data.events import Events
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
