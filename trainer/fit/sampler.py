"""Sequences to training batches: windows of histories, targets, shared negatives and the masks of false ones."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from trainer.data.events import Events
from twotower.arrays import Int64
from twotower.events import DAY_MS


class Batch(NamedTuple):
    """One step. W windows of T interactions each predict what came later; C candidates are shared by all P pairs.

    `products` [U] are the distinct products of the step; `items` [W, T] and `candidates` [C] are places in it.
    `pair_window`, `pair_step`, `target`, `pair_weight` [P]: where each pair's history ends, its column among the
    candidates, and its weight. `barred` [W, M]: candidates that the window's buyer took at some time, repeated to fill
    the row.
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
    barred: Int64


class Sampler:
    """Cuts the training events into windows and serves each epoch's batches, the same for the same (seed, epoch).

    A target's history are the buyer's events of earlier times: what was bought together does not tell of itself.
    Where the catalogue holds at most `full_softmax` products, all of them are candidates at every step.
    """

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
        full_softmax: int,
        weight_power: float,
        repeat_targets: bool,
        seed: int,
    ) -> None:
        self.events, self.products, self.seed = events, products, seed
        self.full = products <= full_softmax
        self._weights = event_weights
        self._pair_weights = np.where(event_weights > 0, event_weights, 1.0) ** weight_power
        self._batch_pairs, self._random = batch_pairs, min(random_negatives, products)
        trained = np.arange(len(events.buyer)) < train_stop[events.buyer]
        first = _first_of_buyer(events, products)
        self._is_target = trained & (np.ones_like(first) if repeat_targets else first)
        self._before = _first_of_moment(events)
        self.windows = _windows(events.start[:-1], train_stop, longest)
        self._is_target &= self._before > _window_of(self.windows, len(events.buyer))
        before = np.concatenate(([0], np.cumsum(self._is_target)))
        counts = before[self.windows[:, 2]] - before[self.windows[:, 1]]
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
        start, first, stop = windows.T
        window, target = _ranges(first, stop)
        chosen = self._is_target[target]
        window, target = window[chosen], target[chosen]
        last = self._before[target] - 1  # the newest event that a target's history holds
        # events after the last history tell nothing
        end = np.maximum.reduceat(last, np.flatnonzero(np.diff(window, prepend=-1))) + 1
        length = int((end - start).max())
        place = start[:, None] + np.arange(length)  # [W, T]
        mask = place < end[:, None]
        place = np.where(mask, place, start[:, None])
        positives = events.product[target].astype(np.int64)
        rows = events.product[place].astype(np.int64)
        if self.full:
            candidates = products = np.arange(self.products)
        else:
            random = draw.choice(self.products, self._random, replace=False) if self._random else positives[:0]
            candidates = np.unique(np.concatenate((positives, random)))
            products = np.unique(np.concatenate((candidates, rows[mask])))
        types = np.where(mask, events.kind[place], 0).astype(np.int64)
        newest = events.time[end - 1][:, None]
        ages = np.where(mask, (newest - events.time[place]) / DAY_MS, 0).astype(np.float32)
        return Batch(
            products=products,
            items=np.where(mask, np.searchsorted(products, rows), 0).clip(max=len(products) - 1),
            weights=self._weights[types],
            types=types,
            ages=ages,
            mask=mask,
            candidates=np.searchsorted(products, candidates),
            pair_window=window,
            pair_step=last - start[window],
            target=np.searchsorted(candidates, positives),
            pair_weight=self._pair_weights[events.kind[target]].astype(np.float32),
            barred=self._barred(events.buyer[start], candidates),
        )

    def _barred(self, buyers: NDArray[np.int32], candidates: Int64) -> Int64:
        window, owned = _ranges(self._owned_start[buyers], self._owned_start[buyers + 1])
        products = self._owned[owned]
        columns = np.searchsorted(candidates, products).clip(max=len(candidates) - 1)
        there = candidates[columns] == products
        window, columns = window[there], columns[there]
        counts = np.bincount(window, minlength=len(buyers))  # at least one: the target is a candidate
        inside = np.arange(len(window)) - np.repeat(np.cumsum(counts) - counts, counts)
        barred = np.repeat(columns[np.cumsum(counts) - counts][:, None], counts.max(), axis=1)
        barred[window, inside] = columns
        return barred


def _ranges(start: Int64, stop: Int64) -> tuple[Int64, Int64]:
    """The numbers start..stop of every row, one after another, and the row of each."""
    sizes = stop - start
    row = np.repeat(np.arange(len(start)), sizes)
    inside = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return row, start[row] + inside


def _first_of_moment(events: Events) -> Int64:
    """For each event [M], the first event of the same buyer at the same time."""
    new = np.ones(len(events.buyer), np.bool_)
    new[1:] = (np.diff(events.buyer) != 0) | (np.diff(events.time) != 0)
    places = np.where(new, np.arange(len(new)), 0)
    return np.maximum.accumulate(places) if len(places) else places


def _windows(start: Int64, stop: Int64, longest: int) -> Int64:
    """Windows [W, 3]: where the history begins, the first target, and behind the last one.

    Every event but the first of a buyer is a target exactly once, `longest` of them to a window; behind the first
    window of a buyer the history begins half a window earlier, so that no target has hardly any.
    """
    sizes = np.maximum(stop - start - 1, 0)
    counts = -(-sizes // longest)
    buyer = np.repeat(np.arange(len(start)), counts)
    inside = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    first = start[buyer] + 1 + inside * longest
    begin = np.maximum(first - 1 - longest // 2, start[buyer])
    return np.stack((begin, first, np.minimum(first + longest, stop[buyer])), axis=1)


def _window_of(windows: Int64, events: int) -> Int64:
    """Where the history of each event's window begins [M]; beyond every event where it is in none."""
    begin = np.full(events, events, np.int64)
    window, event = _ranges(windows[:, 1], windows[:, 2])
    begin[event] = windows[window, 0]
    return begin


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
