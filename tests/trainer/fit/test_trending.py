"""Rising products in a training's events: each buyer once for a product and window."""

from __future__ import annotations

import numpy as np

from trainer.config.schema import Trending
from trainer.data.events import Events
from trainer.fit.trending import count_rising
from twotower.events import DAY_MS
from twotower.trending import find_rising

SETTINGS = Trending(window_days=7.0, past_windows=3)


def events(rows: list[tuple[int, int, float]]) -> Events:
    """Rows of (buyer, product, day)."""
    buyer, product, day = np.array(sorted(rows, key=lambda row: (row[0], row[2]))).T
    start = np.searchsorted(buyer, np.arange(buyer.max() + 2))
    times = np.round((100 + day) * DAY_MS).astype(np.int64)
    return Events(buyer.astype(np.int32), product.astype(np.int32), np.ones(len(buyer), np.int8), times, start)


def test_the_windows_end_at_the_newest_event_and_a_buyer_counts_once_in_each() -> None:
    # product 0 has 20 buyers in the last week; product 1 has 30 in each of four weeks
    rows = [(buyer, 0, 27.5) for buyer in range(20)] + [(buyer, 0, 10.0) for buyer in range(2)]
    rows += [(buyer, 1, 28.0 - 7 * week) for week in range(4) for buyer in range(30)]
    # a bot, which sees product 1 all day, is one buyer of it; so is one in an earlier window
    rows += [(50, 1, 27.0 + step / 1000) for step in range(500)] + [(50, 1, 12.0 + step / 1000) for step in range(500)]
    # more than three windows back
    rows += [(buyer, 0, -1.0) for buyer in range(90)]
    found = count_rising(events(rows), 3, SETTINGS)
    assert found is not None
    wanted = find_rising(np.array([20, 31, 0]), np.array([2, 91, 0]))
    assert wanted.places.tolist() == found.rising.places.tolist() == [0]
    assert found.rising.scores.tolist() == wanted.scores.tolist()
    assert (found.counted.until_ms, found.counted.past_windows) == (128 * DAY_MS, 3)


def test_events_of_one_window_have_no_past() -> None:
    assert count_rising(events([(0, 0, 1.0), (1, 0, 6.0)]), 1, SETTINGS) is None
    empty = np.empty(0, np.int64)
    assert count_rising(Events(empty, empty, empty, empty, np.zeros(1, np.int64)), 1, SETTINGS) is None  # type: ignore[arg-type]
