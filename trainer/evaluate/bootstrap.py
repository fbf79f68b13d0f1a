"""Bootstrap intervals over buyers: how much a mean varies with the choice of test buyers."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from twotower.arrays import Float64

# percentiles of a 95 % interval
_LOW, _HIGH = 2.5, 97.5
# resamples held in memory at once
_BLOCK = 64


class Difference(NamedTuple):
    """The mean difference of two systems on the same buyers, with its 95 % interval."""

    difference: float
    low: float
    high: float


def resampled_means(values: Float64, draws: int, seed: int) -> Float64:
    """Returns the means [draws, K] of `values` [C, K] over buyers drawn with replacement (Efron 1979).

    The same (C, draws, seed) draws the same buyers, so columns are paired within a call and across calls.
    """
    size = len(values)
    draw = np.random.default_rng((seed, size))
    means = np.empty((draws, values.shape[1]))
    for first in range(0, draws, _BLOCK):
        count = min(_BLOCK, draws - first)
        counts = [np.bincount(draw.integers(size, size=size), minlength=size) for _ in range(count)]
        means[first : first + count] = np.asarray(counts, np.float64) @ values / size
    return means


def interval(means: Float64) -> list[float]:
    """Returns the 2.5th and the 97.5th percentile of resampled means [draws]."""
    low, high = np.percentile(means, (_LOW, _HIGH))
    return [float(low), float(high)]


def paired_difference(first: Float64, second: Float64, draws: int, seed: int) -> Difference:
    """Returns the mean of `first` - `second` [C], buyer by buyer, with its interval."""
    difference = first - second
    low, high = interval(resampled_means(difference[:, None], draws, seed)[:, 0])
    return Difference(float(difference.mean()), low, high)
