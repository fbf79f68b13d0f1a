"""Repeat purchases: how likely a buyer is to buy a product again soon, from when the buyer bought it before.

The model is MBG/CNBD-k (Reutterer, Platzer and Schröder 2021, "Leveraging purchase regularity for predicting customer
behavior the easy way"), as a model of a buyer and a product: purchases come at intervals of an Erlang-k distribution,
whose rate differs between pairs by a gamma distribution, and after each purchase the buyer may give the product up. A
product's pace, the share of its buyers who come back, and its usual interval are shrunk to those of its category, and
these to those of all products, as in the Poisson-gamma model of Bhagat et al., "Buy It Again" (KDD 2018).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from twotower.arrays import Float32, Float64, Int64
from twotower.artifact.layout import VersionLayout
from twotower.artifact.lists import RepeatModel
from twotower.errors import CorruptArtifact
from twotower.events import DAY_MS

# what a row of the tables holds: repeat purchases seen, share of the buyers who came back, purchases a day as a
# multiple of the mean of all products, and mean and standard deviation of the logarithm of an interval in days
COLUMNS = ("repeats", "returns", "pace", "mean", "spread")
# intervals that a product's own mean counts for beside those of a buyer
_PRODUCT_INTERVALS = 2.0
# a normal distribution has half of its values within so many standard deviations of its mean
_HALF = 0.6745
_SMALLEST_DAYS = 1e-6


class Pairs(NamedTuple):
    """When buyers bought products, arrays [P]: purchases after the first one, days from the first to the last purchase,
    and days from the first purchase to now.
    """

    repeats: Int64
    last: Float64
    observed: Float64


class Interval(NamedTuple):
    """The usual time between two purchases, in days: the median, and the bounds between which half of them lie."""

    usual: float
    low: float
    high: float


@dataclass(frozen=True)
class RepeatTable:
    """The figures `COLUMNS` of products [N, 5] and of categories [C + 1, 5], these by name; the last row is of all."""

    products: Float32
    categories: Float32

    @classmethod
    def load(cls, files: VersionLayout, products: int, categories: int) -> RepeatTable:
        """Maps both files; they must be verified. Raises CorruptArtifact if one does not fit."""
        try:
            tables = [
                np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
                for path in (files.repeat_products, files.repeat_categories)
            ]
        except (OSError, ValueError, EOFError) as error:
            raise CorruptArtifact(f"the repeat purchases in {files.root} cannot be read: {error}") from error
        for path, table, rows in zip(
            (files.repeat_products, files.repeat_categories), tables, (products, categories + 1), strict=True
        ):
            _check(path.name, table, rows)
        return cls(*tables)

    def save(self, files: VersionLayout) -> None:
        np.save(files.repeat_products, self.products, allow_pickle=False)
        np.save(files.repeat_categories, self.categories, allow_pickle=False)

    def moved(self, known: Int64, categories: Sequence[int]) -> Float32:
        """The rows of another catalogue [M]: `known` [M] is a product's row in this one, or -1; then it has the figures
        of its category's row in `categories` [M], -1 for one that is not known, with no repeat of its own.
        """
        new = self.categories[np.asarray(categories, np.int64)].copy()
        new[:, 0] = 0
        rows: Float32 = np.where((known >= 0)[:, None], self.products[known], new)
        return rows


def _check(name: str, table: Float32, rows: int) -> None:
    wanted = (rows, len(COLUMNS))
    if table.dtype != np.float32 or table.shape != wanted:
        raise CorruptArtifact(f"{name} is {table.dtype} {list(table.shape)}, wanted float32 {list(wanted)}")
    if not np.isfinite(table).all() or (table[:, [0, 1]] < 0).any() or (table[:, [2, 4]] <= 0).any():
        raise CorruptArtifact(f"{name} holds a number that is not finite, or below what it may be")


def purchase_days(times: Sequence[int]) -> list[int]:
    """The days (UTC, since 1970) of purchases at `times` in milliseconds, each once, rising: an order in two parts on
    one day is one purchase.
    """
    return sorted({one // DAY_MS for one in times})


def log_likelihood(model: RepeatModel, pairs: Pairs, pace: Float64, log_intervals: Float64) -> Float64:
    """The logarithm of each pair's likelihood [P]; `log_intervals` [P]: the sum of the logarithms of its intervals."""
    k, r, a, b = model.regularity, model.shape, model.leave, model.stay
    scale, x = model.scale_days / pace, pairs.repeats
    constant = r * np.log(scale) - math.lgamma(r) + (k - 1) * log_intervals - x * math.lgamma(k)
    constant = constant + math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) - _log_gamma(a + b + 1, x)
    stayed = math.lgamma(a) + _log_gamma(b + 1, x) + _log_not_yet(model, pairs, scale, 0.0)
    left = math.lgamma(a + 1) + _log_gamma(b, x) + _log_at_last(model, pairs, scale)
    likelihood: Float64 = constant + np.logaddexp(stayed, left)
    return likelihood


def chance_of_repeat(model: RepeatModel, pairs: Pairs, pace: Float64) -> Float64:
    """The chance [P] that a buyer buys the product within the horizon; `pace` [P] is the product's."""
    scale = model.scale_days / pace
    now = _log_not_yet(model, pairs, scale, 0.0)
    stayed = np.log(model.stay + pairs.repeats) + now
    left = math.log(model.leave) + _log_at_last(model, pairs, scale)
    still_buys = 1 / (1 + np.exp(np.clip(left - stayed, -700, 700)))
    chance: Float64 = still_buys * -np.expm1(_log_not_yet(model, pairs, scale, model.horizon_days) - now)
    return chance


def usual_interval(days: Sequence[int], mean: float, spread: float) -> Interval:
    """A buyer's interval, from the `purchase_days` of a product and the product's `mean` and `spread`."""
    logs = np.log(np.diff(np.asarray(days, np.float64)))
    own = float((logs.sum() + _PRODUCT_INTERVALS * mean) / (len(logs) + _PRODUCT_INTERVALS))
    around = _HALF * spread
    return Interval(math.exp(own), math.exp(own - around), math.exp(own + around))


def _log_not_yet(model: RepeatModel, pairs: Pairs, scale: Float64, more: float) -> Float64:
    """Of a buyer who still buys: no purchase since the last one, up to `more` days from now; without constants."""
    k, r = model.regularity, model.shape
    until = pairs.observed + more
    since = np.log(np.maximum(until - pairs.last, _SMALLEST_DAYS))
    spans = np.log(scale + until)
    terms = [
        step * since
        - math.lgamma(step + 1)
        + _log_gamma(r + step, k * pairs.repeats)
        - (r + step + k * pairs.repeats) * spans
        for step in range(k)
    ]
    total: Float64 = np.logaddexp.reduce(terms, axis=0)
    return total


def _log_at_last(model: RepeatModel, pairs: Pairs, scale: Float64) -> Float64:
    """Of a buyer who gave up at the last purchase; without the same constants."""
    counted = model.regularity * pairs.repeats
    total: Float64 = _log_gamma(model.shape, counted) - (model.shape + counted) * np.log(scale + pairs.last)
    return total


def _log_gamma(base: float, counts: Int64) -> Float64:
    """log gamma(base + count) of each count [P]. Counts are small: a table of them costs less than as many calls."""
    table = np.array([math.lgamma(base + count) for count in range(int(counts.max(initial=0)) + 1)])
    found: Float64 = table[counts]
    return found
