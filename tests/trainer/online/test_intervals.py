"""Rates and intervals beside values worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from trainer.online.intervals import (
    Sums,
    anytime_difference,
    anytime_mean,
    bootstrap_intervals,
    delta_interval,
    rate,
    ratio_mismatch,
)
from twotower.confidence import anytime_factor


def sums(*pairs: tuple[float, float]) -> Sums:
    n, y = zip(*pairs, strict=True)
    return Sums(np.array(n, np.float64), np.array(y, np.float64))


def test_a_rate_and_its_error_by_hand() -> None:
    # 3 of 8 lists; left over: 1 - 0.75, 2 - 1.5, 0 - 0.75; squares 1/16 + 1/4 + 9/16 = 14/16, times 3/2 for 3 buyers
    found = rate(sums((2, 1), (4, 2), (2, 0)))
    assert found.mean == 3 / 8
    assert found.error == pytest.approx(math.sqrt(14 / 16 * 3 / 2) / 8)
    # a buyer without a list changes nothing
    assert rate(sums((2, 1), (4, 2), (2, 0), (0, 0))) == found


def test_one_list_a_buyer_has_the_error_of_an_ordinary_mean() -> None:
    y = np.array([0, 1, 1, 0, 0, 1, 0, 0], np.float64)
    assert rate(Sums(np.ones(8), y)).error == pytest.approx(stats.sem(y))


def test_bootstrap_and_delta_method_agree() -> None:
    draw = np.random.default_rng(7)
    n = draw.poisson(4, 3000).astype(np.float64)
    found = Sums(n, draw.binomial(n.astype(int), draw.beta(1, 9, 3000)).astype(np.float64))
    np.testing.assert_allclose(bootstrap_intervals([found], 1000, 7)[0], delta_interval(rate(found)), rtol=0.02)


def test_the_anytime_interval_of_a_difference() -> None:
    arm, control = sums((2, 1), (4, 2), (2, 0)), sums((1, 0), (1, 1), (2, 0), (4, 1))
    found = anytime_difference(arm, control, 100, 0.05)
    error = math.hypot(rate(arm).error, rate(control).error)
    assert found.difference == 3 / 8 - 2 / 8
    assert found.high - found.difference == pytest.approx(anytime_factor(16, 100, 0.05) * error)
    assert anytime_mean(arm, 100, 0.05).low == pytest.approx(3 / 8 - anytime_factor(8, 100, 0.05) * rate(arm).error)


def test_a_sample_ratio_mismatch_by_hand() -> None:
    # chi-square (60 - 50)^2 / 50 + (40 - 50)^2 / 50 = 4 with one degree of freedom
    assert ratio_mismatch([60, 40], [0.4, 0.4]) == pytest.approx(0.0455003, abs=1e-6)
    assert ratio_mismatch([1, 2], [1 / 3, 2 / 3]) == 1
