"""The arithmetic of benchmarks/growth.py."""

from __future__ import annotations

import pytest

from benchmarks.growth import TRAIN, Stage, Watch, slope


def test_slope_is_the_exponent_of_growth() -> None:
    linear = {size: [Stage("start", 0, 1), Stage(TRAIN, 3e-5 * size, 1)] for size in (1000, 10_000, 30_000)}
    square = {size: [Stage(TRAIN, 2e-9 * size**2, 1)] for size in (1000, 10_000)}
    assert slope(linear, TRAIN) == pytest.approx(1)
    assert slope(square, TRAIN) == pytest.approx(2)


def test_skipped_seconds_count_and_mark_the_stage_as_extrapolated() -> None:
    moments = iter([100.0, 103.0, 103.0, 105.0, 105.0])
    watch = Watch(lambda: next(moments))
    watch.done("whole")
    watch.done("part", skipped=50.0)
    start, whole, part = watch.stages
    assert (start.seconds, whole.seconds, part.seconds) == (0.0, 3.0, 52.0)
    assert (whole.extrapolated, part.extrapolated) == (False, True)
    assert 0 < start.peak_mb <= whole.peak_mb <= part.peak_mb
