"""How much buyers come back to products, counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from trainer.config.loading import load_config
from trainer.data.events import Events
from trainer.data.moments import first_of_moment
from trainer.data.repeats import Repeats, measure_repeats
from twotower.events import DEFAULT_WEIGHTS, EventSchema

SCHEMA = EventSchema(DEFAULT_WEIGHTS)
VIEW, PURCHASE = SCHEMA.codes["View"], SCHEMA.codes["Purchase"]
# a buyer's events: (time, product, kind)
Log = list[tuple[int, int, int]]


def events_of(logs: list[Log]) -> Events:
    time, product, kind = np.array([event for log in logs for event in log]).T
    sizes = [len(log) for log in logs]
    start = np.concatenate(([0], np.cumsum(sizes))).astype(np.int64)
    buyer = np.repeat(np.arange(len(logs)), sizes).astype(np.int32)
    return Events(buyer, product.astype(np.int32), kind.astype(np.int8), time.astype(np.int64), start)


def measured(logs: list[Log], left_out: int = 0) -> Repeats:
    events = events_of(logs)
    return measure_repeats(events, events.start[1:] - left_out, SCHEMA)


def test_a_moment_begins_with_a_buyer_or_a_time() -> None:
    events = events_of([[(1, 0, VIEW), (1, 1, VIEW), (2, 0, VIEW)], [(2, 3, VIEW), (2, 4, VIEW)]])
    assert first_of_moment(events).tolist() == [0, 0, 2, 3, 3]


def test_repeats_are_events_of_a_product_of_an_earlier_moment() -> None:
    # the first moment of a buyer cannot repeat anything; then two of four events do
    log = [(1, 7, VIEW), (1, 8, VIEW), (2, 7, VIEW), (2, 5, VIEW), (3, 5, VIEW), (4, 6, VIEW)]
    assert measured([log] * 20) == Repeats("View", 80, 0.5)
    # without the last two events of each buyer, one of two
    assert measured([log] * 30, left_out=2) == Repeats("View", 60, 0.5)
    assert measured([log] * 60, left_out=3) == Repeats("View", 60, 1.0)


def test_a_product_twice_in_one_basket_is_no_repeat() -> None:
    log = [(1, 1, PURCHASE), (2, 3, PURCHASE), (2, 3, PURCHASE)]
    assert measured([log] * 25) == Repeats("Purchase", 50, 0.0)


def test_purchases_decide_where_there_are_some() -> None:
    # every view is a repeat; a purchase of a viewed product is none, a second purchase is one
    log = [(1, 1, VIEW), (2, 1, VIEW), (3, 1, PURCHASE), (4, 1, PURCHASE)]
    assert measured([log] * 25) == Repeats("Purchase", 50, 0.5)
    # 48 purchases are too few to say anything, 48 views too
    assert measured([log] * 24) == Repeats("", 0, 0.0)
    views: Log = [(1, 2, VIEW), (2, 2, VIEW)]
    assert measured([log] * 24 + [views] * 26) == Repeats("View", 50, 1.0)


@pytest.mark.parametrize(("share", "common"), [(0.0, False), (0.099, False), (0.1, True), (1.0, True)])
def test_a_tenth_is_common(share: float, common: bool) -> None:
    assert Repeats("View", 1000, share).are_common == common


@pytest.mark.parametrize(
    ("assignments", "common", "exclude", "train"),
    [
        ([], False, True, False),
        ([], True, False, True),
        (["evaluation.exclude_seen=true"], True, True, False),
        (["evaluation.exclude_seen=false"], False, False, True),
        (["training.repeat_targets=false"], True, False, False),
        (["training.repeat_targets=true"], False, True, True),
    ],
)
def test_what_is_set_stays_and_auto_follows_the_data(
    assignments: list[str], common: bool, exclude: bool, train: bool
) -> None:
    settled = load_config([], assignments).settle_repeats(common)
    assert settled.evaluation.excludes_seen == exclude
    assert settled.training.trains_on_repeats == train


def test_auto_has_no_value_before_it_is_settled() -> None:
    config = load_config()
    with pytest.raises(ValueError, match=r"evaluation\.exclude_seen=auto"):
        _ = config.evaluation.excludes_seen
    with pytest.raises(ValueError, match=r"training\.repeat_targets=auto"):
        _ = config.training.trains_on_repeats
