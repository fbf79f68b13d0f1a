"""Sequences to training batches: windows of histories, targets, shared negatives and the masks of false ones."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from trainer.dataset import Events
from twotower.events import DAY_MS

Int64 = NDArray[np.int64]


class Batch(NamedTuple):
    """One step. W windows of T interactions each predict the next; C candidates are shared by all P pairs.

    `products` [U] are the distinct products of the step; `items` [W, T] and `candidates` [C] are places in it.
    `pair_window`, `pair_step`, `target`, `pair_weight` [P]: where each pair's history ends, its column among the
    candidates, and its weight. `false` [W, C]: candidates that the window's buyer took at some time.
    """

    products: Int64
    items: Int64
    weights: NDArray[np.float32]
    types: Int64
    ages: NDArray[np.float32]
    mask: NDArray[np.bool_]
    candidates: Int64
    pair_window: Int64
    pair_step: Int64
    target: Int64
    pair_weight: NDArray[np.float32]
    false: NDArray[np.bool_]


class Sampler:
    """Cuts the training events into windows and serves each epoch's batches, the same for the same (seed, epoch)."""

    def __init__(
        self,
        events: Events,
        train_stop: Int64,
        products: int,
        event_weights: NDArray[np.float32],
        *,
        longest: int,
        batch_pairs: int,
        random_negatives: int,
        weight_power: float,
        repeat_targets: bool,
        seed: int,
    ) -> None:
        self.events, self.products, self.seed = events, products, seed
        self._weights = event_weights
        self._pair_weights = np.where(event_weights > 0, event_weights, 1.0) ** weight_power
        self._batch_pairs, self._random = batch_pairs, min(random_negatives, products)
        trained = np.arange(len(events.buyer)) < train_stop[events.buyer]
        first = _first_of_buyer(events, products)
        self._is_target = trained & (np.ones_like(first) if repeat_targets else first)
        self._is_target[events.start[:-1]] = False
        self.windows = _windows(events.start[:-1], train_stop, longest)
        before = np.concatenate(([0], np.cumsum(self._is_target)))
        counts = before[self.windows[:, 1]] - before[self.windows[:, 0] + 1]
        self.windows, self._pairs = self.windows[counts > 0], counts[counts > 0]
        self.pairs = int(self._pairs.sum())
        self.share = _share(events.product[self._is_target], products)
        self._owned, self._owned_start = _owned(events, trained & first, len(events.start) - 1)

    def steps(self, epoch: int) -> int:
        """How many batches the epoch has."""
        return len(self._cuts(self._order(epoch)))

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        """The epoch's batches from `first_step` on."""
        order = self._order(epoch)
        for step, (start, stop) in enumerate(self._cuts(order)):
            if step >= first_step:
                yield self._batch(self.windows[order[start:stop]], np.random.default_rng((self.seed, epoch, step)))

    def _order(self, epoch: int) -> Int64:
        return np.random.default_rng((self.seed, epoch)).permutation(len(self.windows))

    def _cuts(self, order: Int64) -> list[tuple[int, int]]:
        """Runs of windows of about `batch_pairs` pairs each."""
        number = (np.cumsum(self._pairs[order]) - 1) // self._batch_pairs
        edges = [0, *(np.flatnonzero(np.diff(number)) + 1).tolist(), len(order)]
        return [(start, stop) for start, stop in pairwise(edges) if stop > start]

    def _batch(self, windows: Int64, draw: np.random.Generator) -> Batch:
        events = self.events
        length = int((windows[:, 1] - windows[:, 0]).max()) - 1
        place = windows[:, :1] + np.arange(length)  # [W, T]
        mask = place < windows[:, 1:] - 1
        place = np.where(mask, place, windows[:, :1])
        pair_window, pair_step = np.nonzero(mask & self._is_target[place + mask])
        next_event = place[pair_window, pair_step] + 1
        positives = events.product[next_event].astype(np.int64)
        random = draw.choice(self.products, self._random, replace=False) if self._random else np.empty(0, np.int64)
        candidates = np.unique(np.concatenate((positives, random)))
        rows = events.product[place].astype(np.int64)
        products = np.unique(np.concatenate((candidates, rows[mask])))
        types = np.where(mask, events.kind[place], 0).astype(np.int64)
        newest = events.time[windows[:, 1] - 2][:, None]
        ages = np.where(mask, (newest - events.time[place]) / DAY_MS, 0).astype(np.float32)
        return Batch(
            products=products,
            items=np.where(mask, np.searchsorted(products, rows), 0).clip(max=len(products) - 1),
            weights=self._weights[types],
            types=types,
            ages=ages,
            mask=mask,
            candidates=np.searchsorted(products, candidates),
            pair_window=pair_window,
            pair_step=pair_step,
            target=np.searchsorted(candidates, positives),
            pair_weight=self._pair_weights[events.kind[next_event]].astype(np.float32),
            false=self._false(events.buyer[windows[:, 0]], candidates),
        )

    def _false(self, buyers: NDArray[np.int32], candidates: Int64) -> NDArray[np.bool_]:
        column = np.full(self.products, -1, np.int64)
        column[candidates] = np.arange(len(candidates))
        start, stop = self._owned_start[buyers], self._owned_start[buyers + 1]
        sizes = stop - start
        window = np.repeat(np.arange(len(buyers)), sizes)
        inside = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        columns = column[self._owned[np.repeat(start, sizes) + inside]]
        false = np.zeros((len(buyers), len(candidates)), np.bool_)
        false[window[columns >= 0], columns[columns >= 0]] = True
        return false


def _windows(start: Int64, stop: Int64, longest: int) -> Int64:
    """Ranges [W, 2] of at most `longest` + 1 events, each buyer's overlapping by one: every event but the first of a
    buyer is a target exactly once."""
    sizes = np.maximum(stop - start - 1, 0)
    counts = -(-sizes // longest)
    buyer = np.repeat(np.arange(len(start)), counts)
    inside = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    first = start[buyer] + inside * longest
    return np.stack((first, np.minimum(first + longest + 1, stop[buyer])), axis=1)


def _first_of_buyer(events: Events, products: int) -> NDArray[np.bool_]:
    """True [M] where a buyer meets a product for the first time."""
    key = events.buyer.astype(np.int64) * products + events.product
    _, index = np.unique(key, return_index=True)
    first = np.zeros(len(key), np.bool_)
    first[index] = True
    return first


def _owned(events: Events, chosen: NDArray[np.bool_], buyers: int) -> tuple[Int64, Int64]:
    """Each buyer's distinct products, and where they start [buyers + 1]."""
    counts = np.bincount(events.buyer[chosen], minlength=buyers)
    return events.product[chosen].astype(np.int64), np.concatenate(([0], np.cumsum(counts)))


def _share(targets: NDArray[np.int32], products: int) -> NDArray[np.float64]:
    counts = np.bincount(targets, minlength=products).astype(np.float64)
    share: NDArray[np.float64] = counts / max(counts.sum(), 1.0)
    return share
