"""Bootstrap intervals over buyers: how far a mean would move had other buyers been asked."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from twotower.arrays import Float64

_LOW, _HIGH = 2.5, 97.5


# resamples whose counts are held at once
_BLOCK = 64


class Difference(NamedTuple):
    """The mean difference of two systems on the same buyers, and the 95 % interval it lies in."""

    difference: float
    low: float
    high: float


def resampled_means(values: Float64, draws: int, seed: int) -> Float64:
    """Means [draws, K] of `values` [C, K] over buyers drawn with replacement (Efron 1979).

    The same (C, draws, seed) draws the same buyers: columns of one call, and of two calls, are paired.
    """
    size = len(values)
    draw = np.random.default_rng((seed, size))
    means = np.empty((draws, values.shape[1]))
    for first in range(0, draws, _BLOCK):
        count = min(_BLOCK, draws - first)
        picked = [np.bincount(draw.integers(size, size=size), minlength=size) for _ in range(count)]
        means[first : first + count] = np.asarray(picked, np.float64) @ values / size
    return means


def interval(means: Float64) -> list[float]:
    """The 2.5th and the 97.5th percentile of resampled means [draws]."""
    low, high = np.percentile(means, (_LOW, _HIGH))
    return [float(low), float(high)]


def paired_difference(one: Float64, two: Float64, draws: int, seed: int) -> Difference:
    """Mean of `one` less that of `two` [C], buyer by buyer, with its interval."""
    difference = one - two
    low, high = interval(resampled_means(difference[:, None], draws, seed)[:, 0])
    return Difference(float(difference.mean()), low, high)
