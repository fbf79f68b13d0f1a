"""Training batches of the softmax: windows of histories, targets, shared negatives, and masks of false negatives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from trainer.data.events import Events
from trainer.data.moments import first_of_moment
from trainer.fit.softmax.workers import ONE_PROCESS, Workers
from trainer.fit.training_set import TrainingSet
from twotower.arrays import Float32, Float64, Int64, Mask
from twotower.events import DAY_MS


class Batch(NamedTuple):
    """One step: W windows of T interactions, P (history, next product) pairs, C candidates that all pairs share.

    `products` [U] are the distinct products whose vectors this worker computes; `items` [W, T] are indices into it, or
    into the candidates of a full softmax. `pair_window`, `pair_step`, `target`, `pair_weight` [P]: the window and the
    step where the pair's history ends, its target's column among the candidates, and its weight. `masked` [W, M]:
    columns of candidates that the window's buyer met in training, which are no negatives; the first repeats to fill the
    row.

    `candidates` [C] are those of all workers, `own` [c] (indices into `products`) those that this worker computes, and
    `place` [C] is each candidate's place among all workers' own, `owned` of each. `encoded` are the `products` of each
    worker, in order of rank. `among` [U] are the places of `products` among the `all_products` distinct ones of all
    workers. `aligned` [A] are the products whose texts this worker compares with their categories, `all_pairs` the
    number of pairs of all workers.
    """

    products: Int64
    items: Int64
    weights: Float32
    types: Int64
    ages: Float32
    mask: Mask
    own: Int64
    owned: list[int]
    place: Int64
    candidates: Int64
    encoded: list[Int64]
    among: Int64
    all_products: int
    aligned: Int64
    all_pairs: int
    pair_window: Int64
    pair_step: Int64
    target: Int64
    pair_weight: Float32
    masked: Int64


@dataclass(frozen=True)
class SamplerSettings:
    """How a Sampler cuts histories and draws negatives.

    `max_history`: targets in a window, and interactions in a history before them. `batch_pairs`: pairs of a step.
    `random_negatives`: products drawn uniformly for a step. `full_softmax`: in catalogues of up to so many products
    each product is a candidate at every step. `weight_power`: a pair weighs its event's weight to this power.
    `repeat_targets`: also predict products that the buyer has met before.
    """

    max_history: int
    batch_pairs: int
    random_negatives: int
    full_softmax: int
    weight_power: float
    repeat_targets: bool
    seed: int


class Plan(NamedTuple):
    """What every worker knows of all windows: the pairs of each [W], and each product's share of the targets [N].

    `row` [W] is the window's row among this worker's windows, or -1 if another worker has it.
    """

    pairs: Int64
    target_share: Float64
    row: Int64


class Sampler:
    """Cuts the training events into windows and yields each epoch's batches, the same for the same (seed, epoch).

    A target's history are the buyer's events of earlier times: products of one basket do not predict one another.
    The batches of several workers, each with the events of some buyers, together are those of one worker with all.
    """

    def __init__(
        self,
        data: TrainingSet,
        products: int,
        event_weights: Float32,
        settings: SamplerSettings,
        workers: Workers = ONE_PROCESS,
        plan: Plan | None = None,
    ) -> None:
        """`event_weights` [K + 1] are those of the event types by code; 0 is padding.

        With a `plan`, `data` are the events of this worker's buyers.
        """
        events, self._workers = data.events, workers
        self.events, self.products, self.settings, self.seed = events, products, settings, settings.seed
        self.uses_full_softmax = products <= settings.full_softmax
        self.event_weights = event_weights
        self._pair_weights = np.where(event_weights > 0, event_weights, 1.0) ** settings.weight_power
        self._batch_pairs, self._random = settings.batch_pairs, min(settings.random_negatives, products)
        is_first = _first_of_buyer(events, products)
        is_training = data.is_training
        self._is_target = is_training & (np.ones_like(is_first) if settings.repeat_targets else is_first)
        self._before = first_of_moment(events)
        windows = _windows(events.start[:-1], data.stop, settings.max_history)
        self._is_target &= self._before > _window_starts(windows, len(events.buyer))
        targets_before = np.concatenate(([0], np.cumsum(self._is_target)))
        counts = targets_before[windows[:, 2]] - targets_before[windows[:, 1]]
        self.windows, pairs = windows[counts > 0], counts[counts > 0]
        if plan is None:
            plan = Plan(pairs, _shares(events.product[self._is_target], products), np.arange(len(pairs)))
        self.plan, self.pairs, self.target_share = plan, int(plan.pairs.sum()), plan.target_share
        self._met, self._met_start = _met_products(events, is_training & is_first, len(events.start) - 1)

    def steps(self, epoch: int) -> int:
        """The number of batches in the epoch."""
        return len(self._cuts(self._order(epoch)))

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        """The epoch's batches from `first_step` on."""
        order = self._order(epoch)
        for step, (start, stop) in enumerate(self._cuts(order)):
            if step >= first_step:
                chosen = order[start:stop]
                rows, pairs = self.plan.row[chosen], int(self.plan.pairs[chosen].sum())
                yield self._batch(self.windows[rows[rows >= 0]], pairs, np.random.default_rng((self.seed, epoch, step)))

    def _order(self, epoch: int) -> Int64:
        return np.random.default_rng((self.seed, epoch)).permutation(len(self.plan.pairs))

    def _cuts(self, order: Int64) -> list[tuple[int, int]]:
        """Runs of windows of about `batch_pairs` pairs each."""
        number = (np.cumsum(self.plan.pairs[order]) - 1) // self._batch_pairs
        edges = [0, *(np.flatnonzero(np.diff(number)) + 1).tolist(), len(order)]
        return [(start, stop) for start, stop in pairwise(edges) if stop > start]

    def _batch(self, windows: Int64, all_pairs: int, draw: np.random.Generator) -> Batch:
        events = self.events
        start, first, stop = windows.T
        window, target = _ranges(first, stop)
        chosen = self._is_target[target]
        window, target = window[chosen], target[chosen]
        last = self._before[target] - 1  # the newest event in each target's history
        # no history of the window reaches further
        end = np.maximum.reduceat(last, np.flatnonzero(np.diff(window, prepend=-1))) + 1
        length = int((end - start).max(initial=1))  # a worker may have no window of the batch
        place = start[:, None] + np.arange(length)  # [W, T]
        mask = place < end[:, None]
        place = np.where(mask, place, start[:, None])
        positives = events.product[target].astype(np.int64)
        rows = events.product[place].astype(np.int64)
        step = self._choose_products(positives, rows[mask], draw)
        types = np.where(mask, events.kind[place], 0).astype(np.int64)
        newest = events.time[end - 1][:, None]
        ages = np.where(mask, (newest - events.time[place]) / DAY_MS, 0).astype(np.float32)
        inputs = step.candidates if self.uses_full_softmax else step.products
        return Batch(
            products=step.products,
            items=np.where(mask, np.searchsorted(inputs, rows), 0).clip(max=len(inputs) - 1),
            weights=self.event_weights[types],
            types=types,
            ages=ages,
            mask=mask,
            own=step.own,
            owned=step.owned,
            place=step.place,
            candidates=step.candidates,
            encoded=step.encoded,
            among=step.among,
            all_products=step.all_products,
            aligned=step.aligned,
            all_pairs=all_pairs,
            pair_window=window,
            pair_step=last - start[window],
            target=np.searchsorted(step.candidates, positives),
            pair_weight=self._pair_weights[events.kind[target]].astype(np.float32),
            masked=self._masked(events.buyer[start], step.candidates),
        )

    def _choose_products(self, positives: Int64, history: Int64, draw: np.random.Generator) -> _Products:
        """The products of a step, if this worker has the targets `positives` and the interactions `history`."""
        workers = self._workers
        if self.uses_full_softmax:
            candidates = np.arange(self.products)
            encoded = np.array_split(candidates, workers.count)
            products = encoded[workers.rank]
            own, owned = np.arange(len(products)), [len(one) for one in encoded]
            return _Products(products, own, owned, candidates, candidates, encoded, products, self.products, products)
        random = draw.choice(self.products, self._random, replace=False) if self._random else positives[:0]
        mine = np.unique(np.concatenate((positives, random[workers.rank :: workers.count])))
        products = np.unique(np.concatenate((mine, history)))
        others = np.setdiff1d(products, mine, assume_unique=True)
        # one exchange for both: products that are no candidates travel as negative numbers
        every = workers.exchange(np.concatenate((mine, ~others)))
        candidates, place = np.unique(np.concatenate([one[one >= 0] for one in every]), return_index=True)
        encoded = [np.sort(np.where(one < 0, ~one, one)) for one in every]
        all_products = np.unique(np.concatenate(encoded))
        aligned = all_products[workers.rank :: workers.count]
        own, among = np.searchsorted(products, mine), np.searchsorted(all_products, products)
        owned = [int((one >= 0).sum()) for one in every]
        return _Products(products, own, owned, place, candidates, encoded, among, len(all_products), aligned)

    def _masked(self, buyers: NDArray[np.int32], candidates: Int64) -> Int64:
        """Columns [W, M] of the candidates that each window's buyer met in training."""
        window, place = _ranges(self._met_start[buyers], self._met_start[buyers + 1])
        products = self._met[place]
        columns = np.searchsorted(candidates, products).clip(max=len(candidates) - 1)
        is_candidate = candidates[columns] == products
        window, columns = window[is_candidate], columns[is_candidate]
        counts = np.bincount(window, minlength=len(buyers))  # at least one each: the target is a candidate
        inside = np.arange(len(window)) - np.repeat(np.cumsum(counts) - counts, counts)
        masked = np.repeat(columns[np.cumsum(counts) - counts][:, None], counts.max(initial=1), axis=1)
        masked[window, inside] = columns
        return masked


class _Products(NamedTuple):
    """The products of a step: fields of a Batch."""

    products: Int64
    own: Int64
    owned: list[int]
    place: Int64
    candidates: Int64
    encoded: list[Int64]
    among: Int64
    all_products: int
    aligned: Int64


def _ranges(start: Int64, stop: Int64) -> tuple[Int64, Int64]:
    """Concatenates the ranges start..stop [R]: returns the row of each number, and the number."""
    sizes = stop - start
    row = np.repeat(np.arange(len(start)), sizes)
    inside = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return row, start[row] + inside


def _windows(start: Int64, stop: Int64, max_history: int) -> Int64:
    """Windows [W, 3]: where the history starts, the first target, and the end of the targets (exclusive).

    Every event but a buyer's first is a target exactly once, `max_history` of them to a window. The history of every
    window but a buyer's first starts half a window before its targets, so that no target has a very short history.
    """
    sizes = np.maximum(stop - start - 1, 0)
    counts = -(-sizes // max_history)
    buyer = np.repeat(np.arange(len(start)), counts)
    inside = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    first = start[buyer] + 1 + inside * max_history
    begin = np.maximum(first - 1 - max_history // 2, start[buyer])
    return np.stack((begin, first, np.minimum(first + max_history, stop[buyer])), axis=1)


def _window_starts(windows: Int64, events: int) -> Int64:
    """Where the history of each event's window starts [M]; beyond every event if the event is in no window."""
    starts = np.full(events, events, np.int64)
    window, event = _ranges(windows[:, 1], windows[:, 2])
    starts[event] = windows[window, 0]
    return starts


def _first_of_buyer(events: Events, products: int) -> Mask:
    """True [M] for a buyer's first event of a product."""
    key = events.buyer.astype(np.int64) * products + events.product
    _, index = np.unique(key, return_index=True)
    is_first = np.zeros(len(key), np.bool_)
    is_first[index] = True
    return is_first


def _met_products(events: Events, chosen: Mask, buyers: int) -> tuple[Int64, Int64]:
    """The products of the `chosen` [M] events, buyer by buyer, and where each buyer's start [buyers + 1]."""
    counts = np.bincount(events.buyer[chosen], minlength=buyers)
    return events.product[chosen].astype(np.int64), np.concatenate(([0], np.cumsum(counts)))


def _shares(targets: NDArray[np.int32], products: int) -> Float64:
    """Each product's share [N] of the targets."""
    counts = np.bincount(targets, minlength=products).astype(np.float64)
    shares: Float64 = counts / max(counts.sum(), 1.0)
    return shares
