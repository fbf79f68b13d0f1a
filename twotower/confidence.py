"""Anytime-valid intervals: how much wider than an ordinary interval one must be that is looked at again and again.

The boundary is Robbins' normal mixture: Howard, Ramdas, McAuliffe and Sekhon, "Time-uniform, nonparametric,
nonasymptotic confidence sequences" (2021), proposition 5; as an asymptotic confidence sequence it is theorem 2.2 of
Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, "Time-uniform central limit theory and asymptotic confidence sequences"
(2024).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np


def best_rho2(planned: float, alpha: float) -> float:
    """The tuning for which the sequence is about narrowest after `planned` observations; fix it before the first one.

    The approximation of confseq, the library of Howard and others; the best value differs by a few per cent.
    """
    twice = -2 * math.log(alpha)
    return (twice + math.log(1 + twice)) / planned


def anytime_factor(count: Any, planned: float, alpha: float) -> Any:
    """The number of standard errors on each side of a mean of `count` observations (a number or an array).

    The interval holds the true mean at all times at once with probability 1 - alpha, so whoever stops at the first
    interval that leaves out zero is wrong with probability alpha at most. Where an ordinary one takes 1.96, it takes 3
    or more.
    """
    grown = np.asarray(count, np.float64) * best_rho2(planned, alpha)
    return np.sqrt((1 + 1 / grown) * np.log((grown + 1) / alpha**2))
