"""How popular products are, counted so that one buyer moves them little."""

from __future__ import annotations

import numpy as np

from trainer.data.events import Events
from trainer.data.matrix import training_matrix
from twotower.arrays import Float32, Int64
from twotower.events import DAY_MS


def buyer_counts(events: Events, train_stop: Int64, products: int) -> Float32:
    """Returns how many buyers have a training event with each product [N]: a stronger baseline than counting events."""
    counts: Float32 = np.asarray(training_matrix(events, train_stop, products).sum(axis=0), np.float32).ravel()
    return counts


def recent_counts(events: Events, train_stop: Int64, products: int, half_life_days: float) -> Float32:
    """Returns `buyer_counts` [N] in which a buyer counts half as much for each half-life since the buyer's newest event
    with the product, before the newest training event of all.
    """
    chosen = np.flatnonzero(np.arange(len(events.buyer)) < train_stop[events.buyer])
    if not len(chosen):
        return np.zeros(products, np.float32)
    # a buyer's events are sorted by time: of each (buyer, product) the last one is the newest
    pair = events.buyer[chosen].astype(np.int64) * products + events.product[chosen]
    _, last = np.unique(pair[::-1], return_index=True)
    newest = chosen[::-1][last]
    ages = (events.time[chosen].max() - events.time[newest]) / DAY_MS
    counts = np.bincount(events.product[newest], 0.5 ** (ages / half_life_days), minlength=products)
    recent: Float32 = counts.astype(np.float32)
    return recent


def popularity_shares(events: Events, train_stop: Int64, products: int, weights: Float32) -> Float32:
    """Returns each product's share [N] of the weight of the training events; `weights` are those of the kinds by code.

    A buyer counts once for a product, with the heaviest event.
    """
    chosen = np.flatnonzero(np.arange(len(events.buyer)) < train_stop[events.buyer])
    pair = events.buyer[chosen].astype(np.int64) * products + events.product[chosen]
    order = np.lexsort((-weights[events.kind[chosen]], pair))
    _, first = np.unique(pair[order], return_index=True)
    heaviest = chosen[order[first]]
    counts = np.bincount(events.product[heaviest], weights[events.kind[heaviest]], minlength=products)
    shares: Float32 = (counts / max(counts.sum(), 1e-12)).astype(np.float32)
    return shares
