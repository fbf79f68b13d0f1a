"""The baselines against slow references."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.data.events import Events
from trainer.data.matrix import training_matrix
from trainer.data.split import Cases
from trainer.evaluate.baselines import (
    bought_before_scorer,
    ease_scorer,
    item_knn_scorer,
    popularity_scorer,
    recent_popularity_scorer,
    transitions_scorer,
)
from twotower.events import DAY_MS

WEIGHTS = np.array([0.0, 1.0, 5.0, 10.0], np.float32)
PRODUCTS = 6


def events_of(buyers: list[list[int]]) -> Events:
    start = np.cumsum([0, *map(len, buyers)]).astype(np.int64)
    product = np.array([one for row in buyers for one in row], np.int32)
    place = np.arange(len(product))
    return Events(
        np.repeat(np.arange(len(buyers)), np.diff(start)).astype(np.int32),
        product,
        (place % 3 + 1).astype(np.int8),
        place.astype(np.int64),
        start,
    )


def everyone(events: Events) -> Cases:
    """Each buyer's whole log but the last event is the history."""
    start, stop = events.start[:-1], events.start[1:]
    return Cases(np.arange(len(start)), start, stop - 1, stop)


def test_popularity_gives_every_buyer_the_same_scores() -> None:
    share = np.array([0.25, 0.75], np.float32)
    assert popularity_scorer(share)(everyone(events_of([[0, 1, 1], [1, 0]]))).tolist() == [[0.25, 0.75]] * 2


def test_the_training_matrix_counts_each_buyer_and_product_once() -> None:
    matrix = training_matrix(events_of([[0, 0, 1], [2, 2]]), np.array([3, 4]), 4).toarray()
    assert matrix.tolist() == [[1, 1, 0, 0], [0, 0, 1, 0]]


LOGS = st.lists(st.lists(st.integers(0, PRODUCTS - 1), min_size=2, max_size=8), min_size=1, max_size=6)


@given(LOGS, st.data())
@settings(max_examples=100, deadline=None)
def test_item_neighbours_equal_a_slow_reference(logs: list[list[int]], data: st.DataObject) -> None:
    events = events_of(logs)
    trained = [data.draw(st.integers(0, len(log))) for log in logs]
    taken = [set(log[:stop]) for log, stop in zip(logs, trained, strict=True)]
    found = item_knn_scorer(events, events.start[:-1] + np.array(trained), PRODUCTS)(everyone(events))

    def similar(one: int, two: int) -> float:
        if one == two:
            return 0.0
        who, others = {b for b, t in enumerate(taken) if one in t}, {b for b, t in enumerate(taken) if two in t}
        return len(who & others) / math.sqrt(len(who) * len(others)) if who and others else 0.0

    for buyer, log in enumerate(logs):
        for product in range(PRODUCTS):
            wanted = sum(0.8**back * similar(one, product) for back, one in enumerate(log[:-1][::-1]))
            assert found[buyer, product] == pytest.approx(wanted, abs=1e-5)


def test_item_neighbours_use_only_the_last_fifty_interactions() -> None:
    # product 0 is bought with 1 by buyer 0; buyer 1 took 0, then fifty times 2
    events = events_of([[0, 1, 1], [0, *[2] * 50, 3], [0, *[2] * 49, 3]])
    found = item_knn_scorer(events, np.array([2, 3, 0]), 4)(everyone(events))
    assert found[1, 1] == 0
    assert found[2, 1] > 0


@given(LOGS, st.data())
@settings(max_examples=60, deadline=None)
def test_ease_equals_a_slow_reference(logs: list[list[int]], data: st.DataObject) -> None:
    events = events_of(logs)
    trained = [data.draw(st.integers(0, len(log))) for log in logs]
    found = ease_scorer(events, events.start[:-1] + np.array(trained), PRODUCTS, 2.0)(everyone(events))
    taken = np.zeros((len(logs), PRODUCTS))
    asked = np.zeros((len(logs), PRODUCTS))
    for buyer, (log, stop) in enumerate(zip(logs, trained, strict=True)):
        taken[buyer, log[:stop]] = 1
        asked[buyer, log[:-1]] = 1
    inverse = np.linalg.inv(taken.T @ taken + 2.0 * np.eye(PRODUCTS))
    weights = np.eye(PRODUCTS) - inverse / np.diag(inverse)
    np.testing.assert_allclose(found, asked @ weights, atol=1e-4)


def test_ease_is_the_least_squares_solution_without_a_diagonal_whatever_the_block() -> None:
    # more products than one block of the mirrored triangle
    draw = np.random.default_rng(0)
    events = events_of([draw.integers(1100, size=20).tolist() for _ in range(60)])
    found = ease_scorer(events, events.start[1:], 1100, 5.0)(everyone(events))
    taken = training_matrix(events, events.start[1:], 1100).toarray().astype(np.float64)
    inverse = np.linalg.inv(taken.T @ taken + 5.0 * np.eye(1100))
    asked = training_matrix(events, events.start[1:] - 1, 1100).toarray()
    np.testing.assert_allclose(found, asked @ (np.eye(1100) - inverse / np.diag(inverse)), atol=1e-4)


def test_transitions_score_what_others_took_after_the_newest_interactions() -> None:
    # after 0 comes 1, twice; after 2 comes 3, once
    events = events_of([[0, 1], [0, 1], [2, 3], [2, 0, 5], [4, 5]])
    found = transitions_scorer(events, np.array([2, 4, 6, 7, 10]), PRODUCTS)(everyone(events))
    # rows sum to 2 (0), .4 (1), 1 (2), .2 (3); products 1 and 0 have two buyers, product 3 one
    after_0 = [0, 2 / 2**0.5 / 2**0.3, 0, 0, 0, 0]
    after_2 = [0, 0, 0, 1, 0, 0]
    assert found[0].tolist() == pytest.approx(after_0)
    # half of what the older interaction says
    assert found[3].tolist() == pytest.approx([one + two / 2 for one, two in zip(after_0, after_2, strict=True)])


def test_transitions_read_only_the_last_ten_interactions() -> None:
    events = events_of([[0, 1], [0, *[2] * 10, 3], [0, *[2] * 9, 3]])
    found = transitions_scorer(events, np.array([2, 2, 14]), PRODUCTS)(everyone(events))
    assert found[1, 1] == 0
    assert found[2, 1] > 0


def test_what_was_bought_most_comes_first_and_then_the_popular() -> None:
    # trained: buyer 0 has 0, 1, 1; buyer 1 has 1, 2. The last event of each is asked for.
    events = events_of([[0, 1, 1, 5], [1, 2, 3]])
    scores = bought_before_scorer(events, np.array([3, 6]), PRODUCTS)(everyone(events))
    # product 1 has two buyers, 0 and 2 have one: thirds, beside the counts of the histories
    popular = np.array([1, 2, 1, 0, 0, 0]) / 3
    wanted = popular + np.array([[1, 2, 0, 0, 0, 0], [0, 1, 1, 0, 0, 0]])
    np.testing.assert_allclose(scores, wanted, rtol=1e-6)


def test_recent_popularity_halves_a_buyer_every_fifteen_days() -> None:
    events = events_of([[0, 1, 1], [1, 2, 3]])._replace(time=np.array([0, 15, 30, 30, 60, 60]) * DAY_MS)
    scores = recent_popularity_scorer(events, np.array([3, 5]), PRODUCTS)(everyone(events))
    # the newest training event is of day 60; buyer 0's newer event with product 1 counts alone
    wanted = [1 / 16, 1 / 4 + 1 / 4, 1, 0, 0, 0]
    assert scores.tolist() == [pytest.approx(wanted)] * 2
