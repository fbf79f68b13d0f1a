"""The boundary beside the values that its authors' libraries give."""

from __future__ import annotations

import math

import numpy as np
import pytest

from twotower.confidence import anytime_factor, best_rho2


def test_the_tuning_and_the_boundary_are_those_of_the_reference() -> None:
    """Values of confseq's unit tests: best_rho(100, 0.05) = 12.60056, and the bound at 100 = 30.35209."""
    # their rho is the variance added; ours is its share of the planned time
    assert 1 / best_rho2(100, 0.05) == pytest.approx(12.60056, abs=1e-5)
    assert anytime_factor(100, 100, 0.05) * math.sqrt(100) == pytest.approx(30.35209, abs=1e-5)


def test_the_margin_is_the_one_of_asymptotic_confidence_sequences() -> None:
    """std_conjmix_margin of drconfseq: sqrt(2 (t rho2 + 1) log(sqrt(t rho2 + 1) / alpha) / (t^2 rho2))."""
    t, rho2 = np.array([10.0, 500.0, 1e5]), best_rho2(1000, 0.01)
    wanted = np.sqrt(2 * (t * rho2 + 1) * np.log(np.sqrt(t * rho2 + 1) / 0.01) / (t**2 * rho2))
    np.testing.assert_allclose(anytime_factor(t, 1000, 0.01) / np.sqrt(t), wanted, rtol=1e-12)


def test_no_look_at_a_random_walk_is_wrong_more_often_than_promised() -> None:
    walks = np.random.default_rng(7).standard_normal((1000, 2000)).cumsum(axis=1)
    t = np.arange(1, 2001)
    wrong = (np.abs(walks) > anytime_factor(t, 500, 0.05) * np.sqrt(t)).any(axis=1)
    # an ordinary interval is left by most of these walks sooner or later
    assert wrong.mean() <= 0.05
    assert (np.abs(walks) > 1.96 * np.sqrt(t)).any(axis=1).mean() > 0.5
