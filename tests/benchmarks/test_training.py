"""The arithmetic of benchmarks/training.py: learning curves and the clock."""

from __future__ import annotations

import pytest

from benchmarks.curves import Clock, Curve, Point

CURVE = Curve(
    setup=4.0,
    interactions=1000,
    points=[Point(0.5, 9.0, 0.02), Point(1.0, 14.0, 0.05), Point(2.0, 24.0, 0.05), Point(3.0, 34.0, 0.04)],
)


def test_time_to_a_score_is_the_time_of_the_first_point_that_reaches_it() -> None:
    assert CURVE.time_to(0.01) == 9.0
    assert CURVE.time_to(0.02) == 9.0
    assert CURVE.time_to(0.03) == 14.0
    assert CURVE.time_to(0.05) == 14.0
    assert CURVE.time_to(0.0500001) is None


def test_the_best_point_is_the_first_with_the_highest_score() -> None:
    assert CURVE.best == Point(1.0, 14.0, 0.05)
    assert CURVE._replace(points=CURVE.points[2:]).best == Point(2.0, 24.0, 0.05)


def test_rate_excludes_the_seconds_of_setup() -> None:
    assert CURVE.rate == pytest.approx(3 * 1000 / 30)
    assert CURVE._replace(points=CURVE.points[:1]).rate == pytest.approx(0.5 * 1000 / 5)


def test_the_clock_stands_still_while_it_is_held() -> None:
    moment = 100.0
    clock = Clock(lambda: moment)
    moment = 103.0
    with clock.paused():
        assert clock.seconds == 3.0
        moment = 150.0
    assert clock.seconds == 3.0
    moment = 152.0
    assert clock.seconds == 5.0
    with pytest.raises(ValueError), clock.paused():
        moment = 160.0
        raise ValueError
    assert clock.seconds == 5.0
