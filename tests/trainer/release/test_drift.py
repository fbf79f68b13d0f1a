"""What a version says of its training's buyers, in the bins in which services count."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.helpers.small_shop import current, small_run
from tests.helpers.stack import Reference
from tests.helpers.tiny_version import build_version
from trainer.release.drift import every_nth, in_bins, training_bins
from twotower.artifact.manifest import Bins, Fusion
from twotower.history import read_recent


def test_values_fall_into_tenths() -> None:
    bins = in_bins([float(value) for value in range(1, 101)])
    assert bins.edges == [10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0]
    assert bins.shares == [0.1] * 10


def test_equal_values_share_a_bin_and_no_bin_is_empty() -> None:
    # the tenths are 1, 1, 1, 1, 1, 1, 2, 3, 50: nothing lies above 50
    bins = in_bins([1.0] * 6 + [2.0, 3.0, 50.0, 50.0])
    assert bins.edges == [1.0, 2.0, 3.0]
    assert bins.shares == pytest.approx([0.6, 0.1, 0.1, 0.2])
    assert in_bins([7.0, 7.0]) == Bins(edges=[], shares=[1.0])


@pytest.mark.parametrize(("count", "step"), [(0, 1), (1, 1), (5, 1), (6, 2), (10, 2), (11, 4), (20, 4), (21, 8)])
def test_every_nth_of_many_is_kept_without_holding_them(count: int, step: int) -> None:
    assert every_nth(iter(range(count)), 5) == list(range(0, count, step))


def test_a_version_has_the_lengths_and_best_scores_of_its_own_histories(tmp_path: Path) -> None:
    """Buyers of tiny versions have four events with one category, a different product each."""
    version = build_version(tmp_path, "a", buyers=12)
    bins = training_bins(version, threads=1)
    assert bins["history_length"] == Bins(edges=[], shares=[1.0])
    reference = Reference(tmp_path, "a")
    best = []
    for _, interactions in read_recent(version.layout.recent):
        seen = {one.product_id for one in interactions}
        fresh = [one for one in reference.ids if one not in seen]
        best.append(next(iter(reference.best(reference.buyer(interactions), 1, fresh).values())))
    assert bins["best_score"].edges == pytest.approx(in_bins(best).edges, abs=1e-6)
    assert bins["best_score"].shares == pytest.approx(in_bins(best).shares)
    assert len(bins["best_score"].shares) > 5


def test_neighbours_and_prior_count_as_they_are_served(tmp_path: Path) -> None:
    fusion = Fusion(neighbour_weight=0.5, prior_weight=0.5, steps=3)
    plain = training_bins(build_version(tmp_path / "plain", "a", buyers=12), threads=1)
    fused = training_bins(build_version(tmp_path / "fused", "a", buyers=12, fusion=fusion), threads=1)
    assert np.mean(fused["best_score"].edges) > np.mean(plain["best_score"].edges)


def test_a_version_without_histories_says_nothing(tmp_path: Path) -> None:
    assert training_bins(build_version(tmp_path, "a", buyers=0), threads=1) == {}


def test_a_training_writes_them_into_its_version() -> None:
    drift = current(small_run()[1]).manifest.drift
    assert set(drift) == {"history_length", "best_score"}
    for bins in drift.values():
        assert sum(bins.shares) == pytest.approx(1.0)
        assert len(bins.edges) == len(bins.shares) - 1
        assert bins.edges == sorted(bins.edges)
