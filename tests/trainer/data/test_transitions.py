"""The transition matrix: values worked out by hand, and a slow reference."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.data import transitions
from trainer.data.events import Events
from trainer.data.transitions import TransitionSettings, transition_matrix
from twotower.arrays import Float32, Int64
from twotower.events import DAY_MS

PRODUCTS = 5
# sums alone, without any scaling
PLAIN = TransitionSettings(
    steps=10,
    decay=0.5,
    reverse=0.25,
    source_power=0.0,
    target_power=0.0,
    max_gap_days=None,
    kind_power=0.0,
    keep=PRODUCTS,
    repeats=False,
)


def events_of(buyers: list[list[int]], days: list[int] | None = None) -> Events:
    """One event a day, or on the given days; kinds 1, 2, 3 in turn."""
    start = np.cumsum([0, *map(len, buyers)]).astype(np.int64)
    product = np.array([one for row in buyers for one in row], np.int32)
    place = np.arange(len(product))
    time = (place if days is None else np.array(days)).astype(np.int64) * DAY_MS
    buyer = np.repeat(np.arange(len(buyers)), np.diff(start)).astype(np.int32)
    return Events(buyer, product, (place % 3 + 1).astype(np.int8), time, start)


def matrix_of(events: Events, asked: TransitionSettings, stop: Int64 | None = None) -> Float32:
    matrix = transition_matrix(events, events.start[1:] if stop is None else stop, PRODUCTS, asked)
    dense: Float32 = matrix.toarray()
    return dense


def test_each_step_between_two_products_halves_the_weight_and_the_reverse_weighs_a_quarter() -> None:
    dense = matrix_of(events_of([[0, 1, 2]]), PLAIN)
    assert dense[:3, :3].tolist() == [[0, 1, 0.5], [0.25, 0, 1], [0.125, 0.25, 0]]
    assert not dense[3:].any()
    assert not dense[:, 3:].any()


def test_a_pair_weighs_half_as_much_for_each_half_life_before_the_newest_training_event() -> None:
    # the pairs end on days 1 and 5; the last event of buyer 1, on day 9, is not for training
    events = events_of([[0, 1], [2, 3, 4]], [0, 1, 4, 5, 9])
    dense = matrix_of(events, PLAIN._replace(reverse=0.0, half_life_days=2.0), np.array([2, 4]))
    assert dense[0].tolist() == [0, 0.25, 0, 0, 0]
    assert dense[2].tolist() == [0, 0, 0, 1, 0]


def test_pairs_further_apart_than_the_steps_do_not_count() -> None:
    dense = matrix_of(events_of([[0, 1, 2]]), PLAIN._replace(steps=1))
    assert dense[:3, :3].tolist() == [[0, 1, 0], [0.25, 0, 1], [0, 0.25, 0]]


def test_events_outside_training_do_not_count() -> None:
    dense = matrix_of(events_of([[0, 1, 2], [3, 4]]), PLAIN, np.array([2, 3]))
    assert dense[0, 1] == 1
    assert np.count_nonzero(dense) == 2


def test_a_buyer_counts_once_for_each_pair_with_the_largest_weight() -> None:
    # 0 → 1 at one step three times, and 1 → 0 at one step twice: both directions weigh 1
    assert matrix_of(events_of([[0, 1, 0, 1, 0, 1]]), PLAIN)[:2, :2].tolist() == [[0, 1], [1, 0]]
    # two buyers add up
    assert matrix_of(events_of([[0, 1], [0, 1]]), PLAIN)[:2, :2].tolist() == [[0, 2], [0.5, 0]]


def test_a_buyer_with_half_of_all_events_moves_nothing() -> None:
    others = [[0, 1, 2]] * 5
    bot = [3, 4] * 8
    without, with_bot = matrix_of(events_of(others), PLAIN), matrix_of(events_of([*others, bot]), PLAIN)
    assert np.array_equal(without[:3], with_bot[:3])
    assert with_bot[3, 4] == 1


def test_events_of_one_moment_weigh_the_mean_of_both_directions() -> None:
    dense = matrix_of(events_of([[0, 1, 2]], days=[7, 7, 8]), PLAIN)
    assert dense[0, 1] == dense[1, 0] == (1 + 0.25) / 2
    assert (dense[0, 2], dense[1, 2]) == (0.5, 1)


def test_a_gap_of_more_days_than_allowed_is_no_pair() -> None:
    dense = matrix_of(events_of([[0, 1, 2]], days=[0, 30, 61]), PLAIN._replace(max_gap_days=30.0))
    assert dense[:3, :3].tolist() == [[0, 1, 0], [0.25, 0, 0], [0, 0, 0]]


def test_repeats_put_a_product_after_itself() -> None:
    events = events_of([[0, 0, 1]])
    assert matrix_of(events, PLAIN)[:2, :2].tolist() == [[0, 1], [0.25, 0]]
    assert matrix_of(events, PLAIN._replace(repeats=True))[:2, :2].tolist() == [[1, 1], [0.25, 0]]


def test_sums_are_scaled_by_the_rows_sum_and_the_targets_buyers() -> None:
    # row 0 sums to 1 + 3, product 1 has four buyers, product 2 one
    events = events_of([[0, 1], [0, 1], [0, 1], [0, 2], [1]])
    dense = matrix_of(events, PLAIN._replace(reverse=0.0, source_power=0.5, target_power=1.0))
    assert dense[0].tolist() == [0, 3 / 2 / 4, 1 / 2 / 1, 0, 0]


def test_the_targets_event_counts_by_its_weight() -> None:
    kinds = np.array([0, 1, 4, 9], np.float32)  # the events have the kinds 1, 2, 3
    dense = transition_matrix(
        events_of([[0, 1, 2]]), np.array([3]), PRODUCTS, PLAIN._replace(kind_power=0.5), kinds
    ).toarray()
    assert dense[:3, :3].tolist() == [[0, 2, 1.5], [0.25, 0, 3], [0.125, 0.5, 0]]


def test_a_power_of_event_weights_needs_the_weights() -> None:
    with pytest.raises(ValueError, match="it needs kind_weights"):
        transition_matrix(events_of([[0, 1]]), np.array([2]), PRODUCTS, PLAIN._replace(kind_power=0.5))


def test_each_row_keeps_its_largest_entries() -> None:
    dense = matrix_of(events_of([[0, 1, 2, 3]]), PLAIN._replace(keep=1))
    assert dense[:4, :4].tolist() == [[0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0.25, 0]]


def test_without_training_events_the_matrix_is_empty() -> None:
    assert not matrix_of(events_of([[0, 1]]), PLAIN, np.array([0])).any()


HISTORIES = st.lists(st.lists(st.integers(0, PRODUCTS - 1), min_size=1, max_size=9), min_size=1, max_size=5)


@given(HISTORIES, st.data())
@settings(max_examples=60, deadline=None)
def test_the_matrix_equals_a_slow_reference_for_any_size_of_block(logs: list[list[int]], data: st.DataObject) -> None:
    count = sum(map(len, logs))
    days = sorted(data.draw(st.lists(st.integers(0, 4), min_size=count, max_size=count)))
    events = events_of(logs, days)
    stop = np.array([data.draw(st.integers(first, last)) for first, last in pairwise(events.start)])
    asked = PLAIN._replace(
        steps=data.draw(st.integers(1, 4)),
        max_gap_days=data.draw(st.sampled_from([None, 2.0])),
        repeats=data.draw(st.booleans()),
        source_power=0.5,
        target_power=0.3,
    )
    expected = _slow(events, stop, asked)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transitions, "_BLOCK_PAIRS", data.draw(st.sampled_from([1, 40, 4_000_000])))
        assert matrix_of(events, asked, stop) == pytest.approx(expected, rel=1e-6)


def _slow(events: Events, stop: Int64, asked: TransitionSettings) -> Float32:
    sums = np.zeros((PRODUCTS, PRODUCTS))
    buyers = [set[int]() for _ in range(PRODUCTS)]
    for buyer, last in enumerate(stop):
        best: dict[tuple[int, int], float] = defaultdict(float)
        for i in range(events.start[buyer], last):
            buyers[events.product[i]].add(buyer)
            for j in range(i + 1, min(last, i + asked.steps + 1)):
                a, b = int(events.product[i]), int(events.product[j])
                wait = events.time[j] - events.time[i]
                if (a == b and not asked.repeats) or (asked.max_gap_days and wait > asked.max_gap_days * DAY_MS):
                    continue
                weight = asked.decay ** (j - i - 1)
                forward, backward = (1.0, asked.reverse) if wait else ((1 + asked.reverse) / 2,) * 2
                best[a, b] = max(best[a, b], weight * forward)
                best[b, a] = max(best[b, a], weight * backward)
        for pair, weight in best.items():
            sums[pair] += weight
    total = np.maximum(sums.sum(axis=1, keepdims=True), 1e-12)
    counts = np.maximum([len(own) for own in buyers], 1)
    return (sums / total**asked.source_power / counts**asked.target_power).astype(np.float32)
