"""Which events train, validate and test: checked by hand, and no target is in its own history."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.config.loading import load_config
from trainer.config.schema import Evaluation
from trainer.data.events import Events
from trainer.data.split import (
    Cases,
    draw_hidden,
    everything,
    global_time,
    hide,
    leave_last_out,
    newest_sessions,
    sample,
    split_events,
    time_signs,
    trained_products,
    training_counts,
    without_test,
)
from twotower.events import DAY_MS

Rows = list[tuple[int, int, int]]  # (buyer, product, day), sorted


def events_of(rows: Rows) -> Events:
    """Buyers are 0, 1, ... without a gap; every event is of kind 1."""
    buyer = np.array([row[0] for row in rows], np.int32)
    product = np.array([row[1] for row in rows], np.int32)
    moment = np.array([row[2] * DAY_MS for row in rows], np.int64)
    start = np.searchsorted(buyer, np.arange(int(buyer.max()) + 2)).astype(np.int64)
    return Events(buyer, product, np.ones(len(rows), np.int8), moment, start)


def evaluation(*assignments: str) -> Evaluation:
    return load_config([], [f"evaluation.{one}" for one in assignments]).evaluation


def listed(cases: Cases) -> list[tuple[int, int, int, int]]:
    return [tuple(map(int, row)) for row in zip(*cases, strict=True)]  # type: ignore[misc]


THREE_BUYERS: Rows = [
    (0, 10, 1),
    (0, 11, 2),
    (0, 12, 9),
    (0, 13, 9),
    (1, 10, 1),
    (1, 11, 5),
    (2, 14, 4),
    (2, 10, 6),
    (2, 11, 7),
]


def test_leave_last_out_by_hand() -> None:
    split = leave_last_out(events_of(THREE_BUYERS), "why")
    assert split.method == "leave_last_out" and split.note == "why"
    # buyer 1 has two events: both train, none is tested
    assert split.train_stop.tolist() == [2, 6, 7]
    assert split.test_stop.tolist() == [3, 6, 8]
    assert listed(split.validation) == [(0, 0, 2, 3), (2, 6, 7, 8)]
    assert listed(split.test) == [(0, 0, 3, 4), (2, 6, 8, 9)]


def test_global_time_by_hand() -> None:
    # the newest event is of day 9: the test is days 7.. (7 included), validation days 5 and 6
    split = global_time(events_of(THREE_BUYERS), 2, "why")
    assert split.train_stop.tolist() == [2, 5, 7]
    assert split.test_stop.tolist() == [2, 6, 8]
    assert listed(split.validation) == [(1, 4, 5, 6), (2, 6, 7, 8)]
    assert listed(split.test) == [(0, 0, 2, 4), (2, 6, 8, 9)]


def test_a_buyer_without_a_history_before_the_cut_is_not_evaluated() -> None:
    split = global_time(events_of([(0, 1, 8), (0, 2, 9), (1, 1, 1), (1, 2, 9)]), 2, "")
    assert listed(split.test) == [(1, 2, 3, 4)]
    assert listed(split.validation) == []
    assert split.train_stop.tolist() == [0, 3]


def test_newest_sessions_by_hand() -> None:
    # buyers 0 and 1 begin on day 1, buyer 2 on day 4, buyer 3 on day 7, buyer 4 on day 8; the newest event is of day 9
    rows = [*THREE_BUYERS, (3, 10, 7), (3, 11, 7), (3, 12, 8), (4, 13, 8)]
    split = newest_sessions(events_of(rows), 2.5, "why")
    assert split.method == "newest_sessions" and split.note == "why"
    # the test is of buyers from day 6.5 on, validation of those from day 4 on; one event alone asks for nothing
    assert split.train_stop.tolist() == [4, 6, 6, 9, 12]
    assert split.test_stop.tolist() == [4, 6, 9, 9, 12]
    assert listed(split.validation) == [(2, 6, 8, 9)]
    assert listed(split.test) == [(3, 9, 11, 12)]


def test_auto_splits_by_sessions_where_buyers_are_done_within_a_day() -> None:
    sessions = [(buyer, product, buyer // 4) for buyer in range(160) for product in range(3)]
    split = split_events(events_of(sessions), evaluation("min_test_buyers=5", "test_days=30"))
    # 39 days: a tenth is tested
    assert (split.method, len(split.test), len(split.validation)) == ("newest_sessions", 16, 16)
    assert split.note == "auto: 100% of buyers are done within a day"
    few = split_events(events_of(sessions), evaluation("min_test_buyers=17"))
    assert few.method == "leave_last_out"
    # a log of a few hours has no newest days
    hours = events_of(sessions)
    assert split_events(hours._replace(time=hours.time // 100), evaluation("min_test_buyers=5")).method != split.method
    # every sixth buyer comes back after some days
    back = [(buyer, product, buyer // 4 + product * (buyer % 6 == 0) * 5) for buyer, product, _ in sessions]
    assert split_events(events_of(back), evaluation("min_test_buyers=5")).method == "leave_last_out"


ROWS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 5), st.integers(0, 12)), min_size=1, max_size=60)


def whole(rows: Rows) -> Rows:
    """Sorted, and buyers renumbered so that there is no gap."""
    numbers = {buyer: place for place, buyer in enumerate(sorted({row[0] for row in rows}))}
    return sorted(((numbers[buyer], product, day) for buyer, product, day in rows), key=lambda row: (row[0], row[2]))


@given(ROWS, st.sampled_from([0, 1, 2, 3]))
@settings(max_examples=150, deadline=None)
def test_no_target_is_in_its_own_history_or_training(rows: Rows, days: int) -> None:
    events = events_of(whole(rows))
    split = global_time(events, days, "") if days else leave_last_out(events, "")
    for cases in (split.validation, split.test):
        for buyer, start, cut, stop in listed(cases):
            assert events.start[buyer] == start < cut < stop <= events.start[buyer + 1]
            assert set(range(start, cut)).isdisjoint(range(cut, stop))
            if days:
                assert events.time[start:cut].max() < events.time[cut:stop].min()
            # The targets were not trained on.
            assert split.train_stop[buyer] <= cut
    # The tested model trains on all events but the targets, so on every whole history.
    for buyer, _, cut, _ in listed(split.test):
        assert split.test_stop[buyer] == cut
    # and validation is not the test
    asked = {int(place) for _, _, cut, stop in listed(split.test) for place in range(cut, stop)}
    assert asked.isdisjoint(place for _, _, cut, stop in listed(split.validation) for place in range(cut, stop))
    for buyer in range(len(events.start) - 1):
        assert events.start[buyer] <= split.train_stop[buyer] <= events.start[buyer + 1]


@given(ROWS, st.integers(1, 5))
@settings(max_examples=100, deadline=None)
def test_global_time_equals_a_slow_reference(rows: Rows, days: int) -> None:
    rows = whole(rows)
    events = events_of(rows)
    cut = max(day for _, _, day in rows) - days
    split = global_time(events, days, "")
    for buyer in range(len(events.start) - 1):
        own = [day for one, _, day in rows if one == buyer]
        trained = sum(day < cut - days for day in own)
        validated = sum(cut - days <= day < cut for day in own)
        tested = sum(day >= cut for day in own)
        assert split.train_stop[buyer] - events.start[buyer] == trained
        validation = [row for row in listed(split.validation) if row[0] == buyer]
        assert len(validation) == (trained > 0 and validated > 0)
        assert all(stop - at == validated for _, _, at, stop in validation)
        test = [row for row in listed(split.test) if row[0] == buyer]
        assert len(test) == (trained + validated > 0 and tested > 0)
        assert all(stop - at == tested for _, _, at, stop in test)


def baskets(buyers: int) -> Rows:
    """Each buyer shops every 50 days from a day of his own on, three products at a time."""
    rows = []
    for buyer in range(buyers):
        for visit in range(6):
            rows += [(buyer, product, visit * 50 + (buyer * 7) % 40) for product in range(3)]
    return rows


def test_auto_chooses_global_time_if_baskets_are_common() -> None:
    split = split_events(events_of(baskets(40)), evaluation("min_test_buyers=20"))
    assert split.method == "global_time"
    assert "100% of events share buyer and time" in split.note


def test_auto_falls_back_if_global_time_leaves_too_few_buyers() -> None:
    split = split_events(events_of(baskets(40)), evaluation("min_test_buyers=21"))
    assert split.method == "leave_last_out"
    assert "but global time leaves only 20 buyers" in split.note


def test_auto_leaves_the_last_out_of_sessions() -> None:
    # views one after another, no two at a moment
    rows = [(buyer, product, buyer * 3 + product * 2) for buyer in range(40) for product in range(5)]
    split = split_events(events_of(rows), evaluation("min_test_buyers=1"))
    assert split.method == "leave_last_out"
    assert "auto: 0% of events share buyer and time with another" in split.note


def test_auto_leaves_the_last_out_if_times_are_synthetic() -> None:
    # tied baskets, but every buyer starts at the same moment: times are counters, not times
    rows = [(buyer, product, product // 3) for buyer in range(40) for product in range(9)]
    split = split_events(events_of(rows), evaluation("min_test_buyers=1"))
    assert split.method == "leave_last_out"
    assert "100% of buyers start at one moment" in split.note


def test_time_signs_by_hand() -> None:
    rows = [(0, 1, 1), (0, 2, 1), (0, 3, 2), (1, 1, 1), (1, 2, 3), (2, 1, 5), (2, 2, 6), (2, 3, 6)]
    # buyers 0 and 1 of three start on day 1; events 1, 2, 7, 8 of eight are tied
    assert time_signs(events_of(rows)) == (pytest.approx(2 / 3), 0.5)
    # equal times of two buyers beside each other are no basket
    assert time_signs(events_of([(0, 1, 5), (1, 1, 5)]))[1] == 0.0


@pytest.mark.parametrize("method", ["leave_last_out", "global_time"])
def test_a_configured_method_is_used_for_any_data(method: str) -> None:
    split = split_events(events_of(baskets(5)), evaluation(f"split={method}"))
    assert (split.method, split.note) == (method, "as configured")


def test_a_refit_trains_on_everything() -> None:
    assert everything(events_of(THREE_BUYERS)).tolist() == [4, 6, 9]


def test_a_sample_is_drawn_once_for_a_seed_and_keeps_the_order() -> None:
    cases = Cases(*(np.arange(100) + shift for shift in range(4)))
    some = sample(cases, 10, 7)
    assert len(some) == 10 == len(set(some.buyer.tolist()))
    assert some.buyer.tolist() == sorted(some.buyer.tolist())
    assert all(row == (row[0], row[0] + 1, row[0] + 2, row[0] + 3) for row in listed(some))
    assert listed(sample(cases, 10, 7)) == listed(some) != listed(sample(cases, 10, 8))
    assert sample(cases, 100, 7) is cases


def test_hidden_products_have_no_past_and_are_targets_if_they_are_new() -> None:
    rows: Rows = [
        (0, 10, 1),
        (0, 11, 2),
        (0, 12, 3),
        (0, 11, 8),
        (0, 13, 9),
        (1, 11, 1),
        (1, 10, 2),
        (1, 11, 9),
        (2, 11, 1),
        (2, 10, 8),
        (2, 11, 9),
        (3, 10, 1),
        (3, 12, 2),
        (3, 11, 9),
    ]
    events = events_of(rows)
    split = global_time(events, 2, "")  # the test is days 7.., validation days 5 and 6
    hidden = np.isin(np.arange(14), [11, 13])
    left, moved = hide(events, split, hidden, True)
    # buyer 0's 11 was known, 13 is new; buyer 1's too; buyer 2 has no history left; buyer 3 meets 11 for the first time
    kept = [rows[place] for place in (0, 2, 4, 6, 9, 11, 12, 13)]
    assert left.product.tolist() == [row[1] for row in kept] and left.buyer.tolist() == [row[0] for row in kept]
    assert left.time.tolist() == [row[2] * DAY_MS for row in kept]
    assert left.start.tolist() == [0, 3, 4, 5, 8]
    assert listed(moved.test) == [(0, 0, 2, 3), (3, 5, 7, 8)]
    assert moved.train_stop.tolist() == moved.test_stop.tolist() == [2, 4, 4, 7]
    # If seen products may be recommended, they stay targets.
    left, moved = hide(events, split, hidden, False)
    assert left.product.tolist() == [10, 12, 11, 13, 10, 11, 10, 11, 10, 12, 11]
    assert listed(moved.test) == [(0, 0, 2, 4), (1, 4, 5, 6), (3, 8, 10, 11)]


@given(ROWS, st.sampled_from([0, 2]), st.lists(st.integers(0, 5), max_size=3), st.booleans())
@settings(max_examples=150, deadline=None)
def test_no_tested_model_trains_on_a_hidden_product(rows: Rows, days: int, names: list[int], seen: bool) -> None:
    events = events_of(whole(rows))
    split = global_time(events, days, "") if days else leave_last_out(events, "")
    hidden = np.isin(np.arange(6), names)
    left, moved = hide(events, split, hidden, seen)
    for stop in (moved.train_stop, moved.test_stop):
        assert not (training_counts(left, stop, 6) > 0)[hidden].any()
    for cases in (moved.validation, moved.test):
        for buyer, start, cut, stop in listed(cases):
            assert left.start[buyer] == start < cut < stop <= left.start[buyer + 1]
            assert not hidden[left.product[start:cut]].any()
    for _, _, cut, stop in listed(moved.validation):
        assert not hidden[left.product[cut:stop]].any()
    if not hidden.any():
        assert all(np.array_equal(one, two) for one, two in zip(left, events, strict=True))
        assert listed(moved.test) == listed(split.test)


def test_products_are_hidden_at_random_and_the_same_for_a_seed() -> None:
    hidden = draw_hidden(200, 0.1, 7)
    assert hidden.sum() == 20 and not hidden[:20].all()
    assert np.array_equal(hidden, draw_hidden(200, 0.1, 7)) and not np.array_equal(hidden, draw_hidden(200, 0.1, 8))
    assert not draw_hidden(200, 0.0, 7).any()


def test_trained_products_by_hand() -> None:
    events = events_of(THREE_BUYERS)
    stop = np.array([2, 5, 8])  # of buyer 1 one event alone
    assert np.flatnonzero(trained_products(events, stop, 16)).tolist() == [10, 11, 14]
    assert training_counts(events, stop, 16)[[10, 11, 14]].tolist() == [3, 1, 1]
    assert training_counts(events, stop, 16, min_events=2)[[10, 11, 14]].tolist() == [2, 1, 1]


@pytest.mark.parametrize("method", ["leave_last_out", "global_time"])
def test_without_the_test_its_targets_are_gone_and_the_rest_has_moved_up(method: str) -> None:
    events = events_of(THREE_BUYERS)
    split = leave_last_out(events, "") if method == "leave_last_out" else global_time(events, 2, "")
    left, moved = without_test(events, split)
    # last events of buyers 0 and 2; or both events of day 9, before which days 5 and 6 validate
    kept = [0, 1, 2, 4, 5, 6, 7] if method == "leave_last_out" else [0, 1, 4, 5, 6, 7]
    assert left.product.tolist() == events.product[kept].tolist()
    assert left.start.tolist() == ([0, 3, 5, 7] if method == "leave_last_out" else [0, 2, 4, 6])
    assert len(moved.test) == 0
    for column in ("train_stop", "test_stop"):
        before = getattr(split, column) - events.start[:-1]
        assert (getattr(moved, column) - left.start[:-1]).tolist() == before.tolist()
    products = [left.product[cut:stop].tolist() for _, _, cut, stop in listed(moved.validation)]
    assert products == [events.product[cut:stop].tolist() for _, _, cut, stop in listed(split.validation)]
    assert products
