"""V-SKNN and STAN on a few sessions worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from trainer.data.events import Events
from trainer.data.split import Cases
from trainer.evaluate.session_baselines import (
    StanSettings,
    VsknnSettings,
    group_sessions,
    stan_scorer,
    vsknn_scorer,
)
from twotower.events import DAY_MS

A, B, C, D = range(4)
# one session a day, the newest first: sorting by time is the code's task
SESSIONS = [[A, B, D], [D, B], [A, C], [A, B, C]]
# the last event of the asked session is its target
ASKED = 0


def shop(sessions: list[list[int]]) -> tuple[Events, np.ndarray, Cases]:
    """Sessions of one moment each, a day apart, the first the newest; the first is asked, the others train."""
    sizes = np.array([len(one) for one in sessions])
    start = np.concatenate(([0], np.cumsum(sizes))).astype(np.int64)
    buyer = np.repeat(np.arange(len(sessions)), sizes).astype(np.int32)
    product = np.concatenate(sessions).astype(np.int32)
    days = len(sessions) - 1 - buyer.astype(np.int64)
    events = Events(buyer, product, np.ones(len(product), np.int8), days * DAY_MS, start)
    stop = start[1:].copy()
    stop[ASKED] = start[ASKED]
    return events, stop, Cases(np.array([ASKED]), start[:1], start[1:2] - 1, start[1:2])


def test_sessions_are_sorted_by_time_and_keep_the_last_place_of_a_product() -> None:
    events, stop, _ = shop([[A], [C, B], [A, B, A]])
    sessions = group_sessions(events, stop, 4)
    assert sessions.end.tolist() == [0, DAY_MS]
    assert sessions.bounds.tolist() == [0, 2, 4]
    assert sessions.products.tolist() == [A, B, B, C]
    assert sessions.places.tolist() == [3, 2, 2, 1]
    assert sessions.holder_bounds.tolist() == [0, 1, 3, 4, 4]
    assert sessions.holders.tolist() == [0, 0, 1, 1]


def test_vsknn_sums_the_sessions_that_share_a_product() -> None:
    # asked: A, B. A weighs (1/2)^2, B weighs 1. The newest shared product is one step back: x 0.9, or two: x 0.8.
    # ABC: (.25 + 1) x .9 = 1.125; AC: .25 x .8 = .2; DB: 1 x .9 = .9
    events, stop, cases = shop(SESSIONS)
    scores = vsknn_scorer(events, stop, 4, VsknnSettings(neighbours=9, recent=9, idf=0))(cases)
    assert scores[0].tolist() == pytest.approx([1.125 + 0.2, 1.125 + 0.9, 1.125 + 0.2, 0.9])


def test_vsknn_raises_rare_candidates() -> None:
    # A, B and C are in two of three sessions, D is in one
    events, stop, cases = shop(SESSIONS)
    scores = vsknn_scorer(events, stop, 4, VsknnSettings(neighbours=9, recent=9, idf=10))(cases)
    common, rare = 1 + 10 * math.log(3 / 2), 1 + 10 * math.log(3)
    assert scores[0].tolist() == pytest.approx([1.325 * common, 2.025 * common, 1.325 * common, 0.9 * rare])


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        # the most similar session is ABC
        (VsknnSettings(neighbours=1, recent=9, idf=0), [1.125, 1.125, 1.125, 0]),
        # the newest is DB
        (VsknnSettings(neighbours=9, recent=1, idf=0), [0, 0.9, 0, 0.9]),
    ],
)
def test_vsknn_takes_the_newest_sessions_and_of_these_the_nearest(
    settings: VsknnSettings, expected: list[float]
) -> None:
    events, stop, cases = shop(SESSIONS)
    assert vsknn_scorer(events, stop, 4, settings)(cases)[0].tolist() == pytest.approx(expected)


def test_a_repeated_product_has_its_last_place_in_the_history() -> None:
    # asked: B, A, B. B weighs (3/3)^2 and is one step back; A weighs (2/3)^2 and is two steps back.
    # DB: 1 x .9; AC: 4/9 x .8
    events, stop, cases = shop([[B, A, B, C], [D, B], [A, C]])
    scores = vsknn_scorer(events, stop, 4, VsknnSettings(neighbours=9, recent=9, idf=0))(cases)
    assert scores[0].tolist() == pytest.approx([4 / 9 * 0.8, 0.9, 4 / 9 * 0.8, 0.9])


def test_stan_multiplies_the_cosine_by_three_decays() -> None:
    events, stop, cases = shop(SESSIONS)
    scores = stan_scorer(events, stop, 4, StanSettings(9, 9, history=2, days=10, distance=5))(cases)
    # asked: A, B with weights exp(-1/2) and 1
    first = math.exp(-1 / 2)
    norm = math.sqrt(first**2 + 1)
    abc = (first + 1) / (norm * math.sqrt(3)) * math.exp(-3 / 10)
    ac = first / (norm * math.sqrt(2)) * math.exp(-2 / 10)
    db = 1 / (norm * math.sqrt(2)) * math.exp(-1 / 10)
    # distances from the newest shared product: B in ABC and DB, A in AC
    near = math.exp(-1 / 5)
    assert scores[0].tolist() == pytest.approx([abc * near + ac, abc + db, abc * near + ac * near, db * near])


@pytest.mark.parametrize(("neighbours", "recent", "found"), [(1, 9, {A, B, C}), (9, 1, {D, B})])
def test_stan_takes_the_newest_sessions_and_of_these_the_nearest(neighbours: int, recent: int, found: set[int]) -> None:
    events, stop, cases = shop(SESSIONS)
    scores = stan_scorer(events, stop, 4, StanSettings(neighbours, recent, history=2, days=1000, distance=5))(cases)
    assert set(np.flatnonzero(scores[0]).tolist()) == found


def test_a_history_that_no_session_shares_has_no_scores() -> None:
    events, stop, cases = shop([[D, A], [A, B], [B, C]])
    for scorer in (vsknn_scorer(events, stop, 4), stan_scorer(events, stop, 4)):
        assert scorer(cases).tolist() == [[0, 0, 0, 0]]
