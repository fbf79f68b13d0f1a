"""Bootstrap intervals: against theory and a slow resampling, and paired by buyer."""

from __future__ import annotations

import numpy as np
import pytest

from trainer.evaluate.bootstrap import interval, paired_difference, resampled_means
from trainer.evaluate.comparison import intervals


def test_intervals_of_a_mean_are_those_of_the_normal_law() -> None:
    values = np.random.default_rng(1).normal(3.0, 2.0, size=4000)
    low, high = interval(resampled_means(values[:, None], 2000, 7)[:, 0])
    error = values.std() / np.sqrt(len(values))
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.3 * error)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.3 * error)


def test_resampled_means_equal_a_slow_resampling() -> None:
    values = np.array([[1.0, 10.0], [2.0, 30.0], [4.0, 20.0]])
    draw = np.random.default_rng((7, 3))
    wanted = [values[draw.integers(3, size=3)].mean(axis=0) for _ in range(130)]
    np.testing.assert_allclose(resampled_means(values, 130, 7), wanted)
    assert not np.array_equal(resampled_means(values, 130, 7), resampled_means(values, 130, 8))


def test_a_constant_has_no_width() -> None:
    assert interval(resampled_means(np.full((5, 1), 0.25), 100, 0)[:, 0]) == [0.25, 0.25]


def test_differences_are_paired() -> None:
    # each buyer is a little better served by the first, though buyers differ by far more than that
    level = np.random.default_rng(2).uniform(0, 1, 500)
    found = paired_difference(level + 0.01, level, 400, 7)
    assert (found.difference, found.low, found.high) == pytest.approx((0.01, 0.01, 0.01))
    apart = paired_difference(level + 0.01, np.random.default_rng(3).permutation(level), 400, 7)
    assert apart.low < 0 < apart.high


def test_intervals_and_differences_of_systems() -> None:
    draw = np.random.default_rng(4)
    model, other = draw.uniform(0, 1, 300), draw.uniform(0, 0.5, 300)
    values = {"model": {"ndcg@10": model}, "popularity": {"ndcg@10": other}}
    own, compared = intervals(values, 300, 7)
    for name, one in values.items():
        low, high = own[name]["ndcg@10"]
        assert low < one["ndcg@10"].mean() < high
    found = compared["popularity"]["ndcg@10"]
    assert found["difference"] == pytest.approx(model.mean() - other.mean())
    assert found["low"] < found["difference"] < found["high"]
    alone = paired_difference(model, other, 300, 7)
    assert (found["low"], found["high"]) == pytest.approx((alone.low, alone.high))
    assert set(compared) == {"popularity"}


def test_without_cases_there_are_no_intervals() -> None:
    assert intervals({"model": {"ndcg@10": np.empty(0)}}, 100, 7) == ({}, {})
