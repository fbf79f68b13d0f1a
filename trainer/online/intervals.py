"""Rates over lists whose unit is the buyer: sum of y over sum of n, with intervals over buyers.

The delta method for ratios of means: Deng, Knoblich and Lu, "Applying the delta method in metric analytics" (2018).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from trainer.evaluate.bootstrap import interval, resampled_means
from twotower.arrays import Float64
from twotower.confidence import anytime_factor

_ORDINARY = 1.959964


class Sums(NamedTuple):
    """Of each buyer: `n` lists [C] and `y`, what they led to [C]. Leading axes are looks at different times."""

    n: Float64
    y: Float64


class Rate(NamedTuple):
    """A rate and its standard error over buyers; arrays where the sums have leading axes."""

    mean: Any
    error: Any


def rate(sums: Sums) -> Rate:
    """Sum of y over sum of n. The error is that of the delta method; buyers without a list change neither."""
    lists = sums.n.sum(axis=-1)
    mean = sums.y.sum(axis=-1) / lists
    left = sums.y - mean[..., None] * sums.n
    buyers = (sums.n > 0).sum(axis=-1)
    correction = buyers / np.maximum(buyers - 1, 1)
    return Rate(mean, np.sqrt(correction * np.square(left).sum(axis=-1)) / lists)


def delta_interval(found: Rate) -> list[float]:
    """The ordinary 95 % interval: for one look at a time that was fixed before."""
    return [float(found.mean - _ORDINARY * found.error), float(found.mean + _ORDINARY * found.error)]


def bootstrap_intervals(found: Sequence[Sums], draws: int, seed: int) -> list[list[float]]:
    """The 95 % interval of each rate over buyers drawn with replacement; all rates have the same buyers and lists."""
    means = resampled_means(np.stack([found[0].n, *(one.y for one in found)], axis=1), draws, seed)
    return [interval(column / means[:, 0]) for column in means[:, 1:].T]


class Difference(NamedTuple):
    """A difference of rates and its anytime-valid interval; arrays where the sums have leading axes."""

    difference: Any
    low: Any
    high: Any


def anytime_difference(arm: Sums, control: Sums, planned: float, alpha: float) -> Difference:
    """The arm's rate less the control's, with an interval that holds at all looks at once (see twotower.confidence).

    Its clock counts lists. The errors are those over buyers, whose lists go together: what is known of a buyer's
    future lists makes looks more alike than those at a random walk, which is the worst case for which it is made.
    """
    one, other = rate(arm), rate(control)
    return _around(
        one.mean - other.mean, np.hypot(one.error, other.error), arm.n.sum(-1) + control.n.sum(-1), planned, alpha
    )


def anytime_mean(sums: Sums, planned: float, alpha: float) -> Difference:
    """A rate with such an interval: of a difference that each list has by itself, as an interleaved one."""
    found = rate(sums)
    return _around(found.mean, found.error, sums.n.sum(-1), planned, alpha)


def _around(mean: Any, error: Any, lists: Any, planned: float, alpha: float) -> Difference:
    width = anytime_factor(lists, planned, alpha) * error
    return Difference(mean, mean - width, mean + width)


def ratio_mismatch(buyers: list[int], shares: list[float]) -> float:
    """The p-value of a chi-square test that the arms have the buyers that their shares promise."""
    expected = np.array(shares) / sum(shares) * sum(buyers)
    return float(stats.chisquare(buyers, expected).pvalue)
