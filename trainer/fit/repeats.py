"""Fits the model of repeat purchases (`twotower.repeats`) to the purchases of a training."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize

from trainer.config.schema import Again
from trainer.data.events import Events
from twotower.arrays import Float32, Float64, Int64
from twotower.artifact.lists import RepeatModel
from twotower.events import DAY_MS, EventSchema
from twotower.repeats import Pairs, RepeatTable, log_likelihood

log = logging.getLogger(__name__)

# fewer repeated pairs than these show no intervals
MIN_REPEATED = 50
# pairs on which the parameters are fitted, and the regularities that are tried
_FITTED_PAIRS, _REGULARITIES = 20_000, (1, 2, 3)
# how much the figures of a category count beside a product's, and those of all beside a category's: repeat purchases,
# buyers, and intervals
_PACE, _BUYERS, _INTERVALS = 2.0, 10.0, 10.0
# starting values of shape, scale, leave and stay, and the bounds of their logarithms
_START = (0.5, 100.0, 0.5, 2.0)
_BOUNDS = ((-6, 6), (-4, 9), (-7, 5), (-7, 6))


class FittedRepeats(NamedTuple):
    """The model, and the figures of products and categories."""

    model: RepeatModel
    table: RepeatTable


class _Purchases(NamedTuple):
    """Pairs of buyer and product, each with its product's row [P] and the sum of the logarithms of its intervals [P];
    and of each interval its product's row and its logarithm [I].
    """

    pairs: Pairs
    product: Int64
    log_intervals: Float64
    interval_product: Int64
    intervals: Float64


def fit_repeats(
    events: Events, categories: Sequence[str], schema: EventSchema, settings: Again
) -> FittedRepeats | None:
    """The model of the heaviest kind of event; None if fewer than `MIN_REPEATED` pairs of it are repeated.

    `categories` [N] are those of the products. A pair is watched from its first purchase to the newest event of all.
    """
    event = max(schema.names, key=lambda name: schema.weights[name])
    purchases = _purchases(events, schema.codes[event])
    repeated = int((purchases.pairs.repeats > 0).sum())
    if repeated < MIN_REPEATED:
        log.info(f"{repeated:,} pairs of buyer and product have a second {event}: repeat purchases are not modelled")
        return None
    names = sorted(set(categories))
    row_of = {name: row for row, name in enumerate(names)}
    table = _table(purchases, np.array([row_of[one] for one in categories], np.int64), len(names))
    counts = {"event": event, "pairs": len(purchases.product), "repeated": repeated}
    fixed = counts | {"horizon_days": settings.horizon_days, "min_returns": settings.min_returns}
    model = _fit(purchases, table.products[:, 2].astype(np.float64), fixed)
    log.info(f"repeat purchases: {repeated:,} of {len(purchases.product):,} pairs; regularity {model.regularity}")
    return FittedRepeats(model, table)


def _purchases(events: Events, code: int) -> _Purchases:
    chosen = events.kind == code
    products, days = int(events.product.max(initial=0)) + 1, int(events.time.max(initial=0)) // DAY_MS + 1
    pair = events.buyer[chosen].astype(np.int64) * products + events.product[chosen]
    pair, day = np.divmod(np.unique(pair * days + events.time[chosen] // DAY_MS), days)
    product = pair % products
    is_first = np.diff(pair, prepend=-1) != 0
    starts = np.flatnonzero(is_first)
    if not len(starts):
        none, nothing = np.empty(0, np.int64), np.empty(0)
        return _Purchases(Pairs(none, nothing, nothing), none, nothing, none, nothing)
    ends = np.append(starts[1:], len(day))
    logs = np.zeros(len(day))
    logs[~is_first] = np.log(np.diff(day, prepend=0)[~is_first])
    now = float(events.time.max()) / DAY_MS
    last = (day[ends - 1] - day[starts]).astype(np.float64)
    pairs = Pairs(ends - starts - 1, last, np.maximum(now - day[starts], last))
    return _Purchases(pairs, product[starts], np.add.reduceat(logs, starts), product[~is_first], logs[~is_first])


def _table(purchases: _Purchases, category: Int64, count: int) -> RepeatTable:
    """The figures, each shrunk to the next larger group's."""
    products = len(category)
    by_product, by_category = np.arange(products), category
    everything = np.zeros(products, np.int64)
    sums = _sums(purchases, products)
    whole = _shrunk(_add(sums, everything, 1), None)
    mean_category = _shrunk(_add(sums, by_category, count), np.repeat(whole, count, axis=0))
    own = _shrunk(_add(sums, by_product, products), mean_category[category])
    return RepeatTable(own.astype(np.float32), np.concatenate([mean_category, whole]).astype(np.float32))


def _sums(purchases: _Purchases, products: int) -> Float64:
    """Of each product [N, 6]: repeats, days watched, buyers, buyers who came back, and of the intervals' logarithms sum
    and sum of squares.
    """
    pairs, row, interval = purchases.pairs, purchases.product, purchases.interval_product
    columns = [
        np.bincount(row, pairs.repeats, products),
        np.bincount(row, pairs.observed, products),
        np.bincount(row, minlength=products),
        np.bincount(row, pairs.repeats > 0, products),
        np.bincount(interval, purchases.intervals, products),
        np.bincount(interval, purchases.intervals**2, products),
    ]
    return np.stack(columns, axis=1).astype(np.float64)


def _add(sums: Float64, group: Int64, groups: int) -> Float64:
    total = np.zeros((groups, sums.shape[1]))
    np.add.at(total, group, sums)
    return total


def _shrunk(sums: Float64, prior: Float64 | None) -> Float64:
    """The figures `COLUMNS` [G, 5] of groups from their sums [G, 6], all but the first shrunk to `prior` [G, 5].

    Of all products together, with no prior, the pace is 1.
    """
    repeats, watched, buyers, returned, logs, squares = sums.T
    if prior is None:
        mean = logs / repeats
        variance = np.maximum(squares / repeats - mean**2, 1e-4)
        return np.stack([repeats, returned / buyers, np.ones(1), mean, np.sqrt(variance)], axis=1)
    _, returns, pace, mean, spread = prior.T
    expected = watched * (repeats.sum() / watched.sum())
    own_mean = (logs + _INTERVALS * mean) / (repeats + _INTERVALS)
    # around the shrunken mean
    around = squares - 2 * own_mean * logs + repeats * own_mean**2
    variance = (np.maximum(around, 0) + _INTERVALS * (spread**2 + (own_mean - mean) ** 2)) / (repeats + _INTERVALS)
    return np.stack(
        [
            repeats,
            (returned + _BUYERS * returns) / (buyers + _BUYERS),
            (repeats + _PACE) / (expected + _PACE / pace),
            own_mean,
            np.sqrt(variance),
        ],
        axis=1,
    )


def _fit(purchases: _Purchases, pace: Float64, fixed: dict[str, object]) -> RepeatModel:
    """The parameters of the largest likelihood, on evenly spaced pairs, over all regularities."""
    count = len(purchases.product)
    chosen = np.unique(np.linspace(0, count - 1, min(count, _FITTED_PAIRS)).astype(np.int64))
    repeats, last, observed = purchases.pairs
    pairs = Pairs(repeats[chosen], last[chosen], observed[chosen])
    paces, logs = pace[purchases.product[chosen]], purchases.log_intervals[chosen]

    def model_of(values: Float64, regularity: int) -> RepeatModel:
        shape, scale, leave, stay = np.exp(values).tolist()
        own = {"shape": shape, "scale_days": scale, "leave": leave, "stay": stay, "regularity": regularity}
        return RepeatModel.model_validate(fixed | own)

    def loss(values: Float64, regularity: int) -> float:
        return -float(log_likelihood(model_of(values, regularity), pairs, paces, logs).mean())

    found = [minimize(loss, np.log(_START), (regularity,), "L-BFGS-B", bounds=_BOUNDS) for regularity in _REGULARITIES]
    best = min(range(len(found)), key=lambda place: float(found[place].fun))
    return model_of(found[best].x, _REGULARITIES[best])


def moved_table(table: RepeatTable, before: Sequence[str], known: Int64, categories: Sequence[str]) -> RepeatTable:
    """The table for another catalogue with the `categories` [M] of its products; those of the table are `before` [N].

    A new category has the figures of all products.
    """
    row_of = {name: row for row, name in enumerate(sorted(set(before)))}
    names = sorted(set(categories))
    places = np.array([row_of.get(name, -1) for name in names] + [-1], np.int64)
    by_name: Float32 = table.categories[places]
    return RepeatTable(table.moved(known, [row_of.get(one, -1) for one in categories]), by_name)
