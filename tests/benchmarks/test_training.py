"""The arithmetic of benchmarks/training.py: learning curves, the clock, scores of saved vectors, SASRec settings."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.curves import Clock, Curve, Point
from benchmarks.training import DEFAULTS, _vectors_scorer, sasrec_settings
from trainer.data.split import Cases

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


def test_saved_vectors_give_scores_in_any_order_of_ids(tmp_path: Path) -> None:
    saved = {
        "buyers": np.array([[1, 0], [0, 2]], np.float32),
        "buyer_ids": np.array([3, 1]),
        "items": np.array([[5, 7], [1, -1]], np.float32),
        "item_ids": np.array([2, 0]),
    }
    for name, values in saved.items():
        np.save(tmp_path / f"{name}.npy", values, allow_pickle=False)
    run = SimpleNamespace(data=SimpleNamespace(buyers=["a", "b", "c", "d"], products=["p", "q", "r"]))
    buyers = np.array([1, 2, 3])
    scores = _vectors_scorer(tmp_path, run)(Cases(buyers, buyers, buyers, buyers))
    low = -np.inf
    # there are no vectors of product q and buyer c
    assert scores.tolist() == [[-2, low, 14], [0, low, 0], [1, low, 5]]


def test_settings_of_sasrec_are_parsed_by_their_type_and_unknown_ones_are_refused() -> None:
    assert sasrec_settings("defaults", []) == DEFAULTS
    read = sasrec_settings("published", ["loss=softmax", "lr=0.01", "n_blocks=3", "use_pos_emb=false"])
    assert (read["loss"], read["lr"], read["n_blocks"], read["use_pos_emb"]) == ("softmax", 0.01, 3, False)
    assert read["n_negatives"] == 256
    assert DEFAULTS["n_blocks"] == 2
    with pytest.raises(SystemExit, match="blocks=3: 'blocks' is none of n_blocks, "):
        sasrec_settings("defaults", ["blocks=3"])
    with pytest.raises(SystemExit, match="n_blocks=two: 'two' is no int"):
        sasrec_settings("defaults", ["n_blocks=two"])
    with pytest.raises(SystemExit, match="use_pos_emb=1: '1' is no bool"):
        sasrec_settings("defaults", ["use_pos_emb=1"])
