"""Popularity: a buyer counts once for each product, by the newest event."""

from __future__ import annotations

import numpy as np

from trainer.data.events import Events
from trainer.data.popularity import buyer_counts, popularity_shares, recent_counts
from twotower.events import DAY_MS


def events(*rows: tuple[int, int, int]) -> Events:
    """Rows of (buyer, product, day), sorted by buyer and day."""
    buyer, product, day = np.array(rows).T
    start = np.searchsorted(buyer, np.arange(buyer.max() + 2))
    return Events(buyer.astype(np.int32), product.astype(np.int32), np.ones(len(buyer), np.int8), day * DAY_MS, start)


ROWS = events((0, 0, 0), (0, 0, 10), (0, 1, 20), (1, 0, 30), (1, 2, 40))
STOP = np.array([3, 4])  # the last event is not for training


def test_a_buyer_counts_once_for_a_product() -> None:
    np.testing.assert_array_equal(buyer_counts(ROWS, STOP, 4), [2, 1, 0, 0])


def test_recent_counts_halve_with_each_half_life_before_the_newest_training_event() -> None:
    # the newest training event is on day 30: product 0 counts .25 (day 10) + 1 (day 30), product 1 .5 (day 20)
    np.testing.assert_allclose(recent_counts(ROWS, STOP, 4, 10.0), [1.25, 0.5, 0.0, 0.0])


def test_without_training_events_every_count_is_zero() -> None:
    np.testing.assert_array_equal(recent_counts(ROWS, ROWS.start[:-1], 4, 10.0), np.zeros(4))


def test_shares_count_a_buyer_once_for_a_product_with_the_heaviest_event() -> None:
    rows = events((0, 0, 0), (0, 1, 1), (0, 1, 2), (1, 1, 0), (1, 2, 1))._replace(
        kind=np.array([1, 2, 1, 3, 3], np.int8)
    )
    weights = np.array([0.0, 1.0, 5.0, 10.0], np.float32)
    # product 0 was viewed (1), product 1 was in a cart (5, the later view adds nothing) and bought by another (10)
    shares = popularity_shares(rows, np.array([3, 4]), 4, weights)
    np.testing.assert_allclose(shares, [1 / 16, 15 / 16, 0, 0])
