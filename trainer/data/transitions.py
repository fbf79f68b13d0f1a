"""How often one product follows another in the histories of buyers: a sparse matrix of products by products."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy import sparse

from trainer.data.events import Events
from trainer.data.matrix import keep_largest
from trainer.data.popularity import buyer_counts
from twotower.arrays import Float32, Float64, Int64, Mask
from twotower.events import DAY_MS

# pairs of events held in memory at once, as far as the rows of one product allow
_BLOCK_PAIRS = 4_000_000
# the largest number that a pair's key may reach
_LARGEST_KEY = 2**62


class TransitionSettings(NamedTuple):
    """How a pair of events of one buyer counts, and how the sums are scaled.

    Two events up to `steps` places apart make a pair. A step back multiplies its weight by `decay`; against the order
    of time it weighs `reverse` as much. Sums are divided by (the source's row sum) ^ `source_power` and by (the
    target's buyers) ^ `target_power`. Pairs more than `max_gap_days` apart do not count (None: all count). A pair
    weighs half as much for each `half_life_days` before the newest training event (0: age does not matter). The
    target's event weight counts to the power of `kind_power`. Each row keeps its `keep` largest entries. `repeats`: a
    product may follow itself.
    """

    steps: int
    decay: float
    reverse: float
    source_power: float
    target_power: float
    max_gap_days: float | None
    kind_power: float
    keep: int
    repeats: bool
    half_life_days: float = 0.0


class _Pairs(NamedTuple):
    """Pairs of events as indices into the events [P], and their weights [P]."""

    source: Int64
    target: Int64
    weight: Float64


def transition_matrix(
    events: Events,
    stop: Int64,
    products: int,
    settings: TransitionSettings,
    kind_weights: Float32 | None = None,
) -> sparse.csr_matrix:
    """Row a, column b [N, N]: how strongly b follows a in the training events, those before `stop` [buyers].

    A buyer counts once for each (a, b), with the largest weight of the buyer's pairs. Events of one moment have no
    order: a pair of them weighs the mean of both directions. `kind_weights` are the event weights by code; a
    `kind_power` other than 0 needs them. Rows are float32 with rising columns. Memory is bounded by the events of the
    most common product, not by the number of pairs.
    """
    if settings.kind_power and kind_weights is None:
        raise ValueError(f"kind_power is {settings.kind_power:g}: it needs kind_weights")
    by_kind = np.ones(int(events.kind.max(initial=0)) + 1)
    if settings.kind_power and kind_weights is not None:
        by_kind = np.power(kind_weights.astype(np.float64), settings.kind_power)
    by_target = by_kind[events.kind]
    popular = np.maximum(buyer_counts(events, stop, products), 1).astype(np.float64) ** settings.target_power
    is_training = np.arange(len(events.buyer)) < stop[events.buyer]
    if settings.half_life_days and is_training.any():
        ages = (events.time[is_training].max() - events.time) / DAY_MS
        by_target = by_target * 0.5 ** (ages / settings.half_life_days)
    blocks = []
    for first, last, places in _row_blocks(events, is_training, products, settings.steps):
        pairs = _pairs(events, is_training, places, settings)
        weighted = pairs._replace(weight=pairs.weight * by_target[pairs.target])
        sums = _sum_over_buyers(events, weighted, first, (last - first, products))
        total = np.asarray(sums.sum(axis=1)).ravel()
        scale = 1 / np.maximum(total, 1e-12) ** settings.source_power
        scaled = (sparse.diags(scale) @ sums @ sparse.diags(1 / popular)).astype(np.float32)
        blocks.append(keep_largest(scaled.tocsr(), settings.keep))
    return sparse.vstack(blocks, format="csr")


def _row_blocks(events: Events, is_training: Mask, products: int, steps: int) -> Iterator[tuple[int, int, Int64]]:
    """Blocks of products `first`..`last`, with the places of their training events in order."""
    trained = np.flatnonzero(is_training)
    order = trained[np.argsort(events.product[trained], kind="stable")]
    starts = np.searchsorted(events.product[order], np.arange(products + 1))
    buyers = max(len(events.start) - 1, 1)
    most_rows = max(_LARGEST_KEY // (products * buyers), 1)
    most_events = _BLOCK_PAIRS // (2 * steps)
    first = 0
    while first < products:
        fitting = int(np.searchsorted(starts, starts[first] + most_events, side="right")) - 1
        last = min(max(fitting, first + 1), first + most_rows, products)
        yield first, last, order[starts[first] : starts[last]]
        first = last


def _pairs(events: Events, is_training: Mask, places: Int64, settings: TransitionSettings) -> _Pairs:
    """All pairs whose source is at one of the `places`."""
    found = []
    for gap in range(1, settings.steps + 1):
        for step in (gap, -gap):
            inside = (places + step >= 0) & (places + step < len(events.buyer))
            source = places[inside]
            target = source + step
            waits = np.abs(events.time[target] - events.time[source])
            counts = (events.buyer[source] == events.buyer[target]) & is_training[target]
            if not settings.repeats:
                counts &= events.product[source] != events.product[target]
            if settings.max_gap_days is not None:
                counts &= waits <= settings.max_gap_days * DAY_MS
            direction = 1.0 if step > 0 else settings.reverse
            directed = np.where(waits[counts] > 0, direction, (1 + settings.reverse) / 2)
            found.append(_Pairs(source[counts], target[counts], settings.decay ** (gap - 1) * directed))
    return _Pairs(*(np.concatenate(columns) for columns in zip(*found, strict=True)))


def _sum_over_buyers(events: Events, pairs: _Pairs, first: int, shape: tuple[int, int]) -> sparse.csr_matrix:
    """Sums [rows, N] of the weights; of a buyer's pairs with the same source and target, the largest counts."""
    buyers = max(len(events.start) - 1, 1)
    row = events.product[pairs.source].astype(np.int64) - first
    key = (row * shape[1] + events.product[pairs.target]) * buyers + events.buyer[pairs.source]
    order = np.argsort(key, kind="stable")
    key = key[order]
    starts = np.flatnonzero(np.diff(key, prepend=-1))
    weight = np.maximum.reduceat(pairs.weight[order], starts) if len(starts) else np.zeros(0)
    row_and_column = key[starts] // buyers
    return sparse.csr_matrix((weight, (row_and_column // shape[1], row_and_column % shape[1])), shape=shape)
