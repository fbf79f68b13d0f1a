"""Splits events into training, validation and test sets, as ranges of the sorted event arrays."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from trainer.config.schema import Evaluation
from trainer.data.events import Events
from twotower.arrays import Int64, Mask
from twotower.events import DAY_MS


class Cases(NamedTuple):
    """Buyers to evaluate [B]: their history is events `start`..`cut`, their targets events `cut`..`stop`."""

    buyer: Int64
    start: Int64
    cut: Int64
    stop: Int64

    def __len__(self) -> int:
        return len(self.buyer)


class Split(NamedTuple):
    """Where training stops, and the cases of validation and test.

    The validated model trains on each buyer's events start..`train_stop` [buyers]. Events start..`test_stop` [buyers]
    are all but the targets of the test. `note` says why this method was used.
    """

    method: str
    train_stop: Int64
    test_stop: Int64
    validation: Cases
    test: Cases
    note: str


# `auto` takes buyers for sessions if at least this share of them is done within a day, and tests on at most this part
# of the whole time: shops change, and sessions hardly know the products that come after them
_SHORT_BUYERS, _SESSION_PART = 0.9, 0.1


def split_events(events: Events, config: Evaluation) -> Split:
    """Splits as configured; `auto` splits by sessions if buyers are sessions, and by global time if times are real and
    baskets are common."""
    if config.split == "leave_last_out":
        return leave_last_out(events, "as configured")
    if config.split == "global_time":
        return global_time(events, config.test_days, "as configured")
    days = min(config.test_days, _SESSION_PART * (events.time.max() - events.time.min()) / DAY_MS)
    if config.split == "newest_sessions":
        return newest_sessions(events, days, "as configured")
    if (short := short_buyers(events)) >= _SHORT_BUYERS and days >= 1:
        split = newest_sessions(events, days, f"auto: {short:.0%} of buyers are done within a day")
        if min(len(split.test), len(split.validation)) >= config.min_test_buyers:
            return split
    first_shared, tied = time_signs(events)
    signs = f"{tied:.0%} of events share buyer and time with another, {first_shared:.0%} of buyers start at one moment"
    if tied < 0.3 or first_shared > 0.05:
        return leave_last_out(events, f"auto: {signs}")
    split = global_time(events, config.test_days, f"auto: {signs}")
    smallest = min(len(split.test), len(split.validation))
    if smallest < config.min_test_buyers:
        return leave_last_out(events, f"auto: {signs}, but global time leaves only {smallest} buyers")
    return split


def time_signs(events: Events) -> tuple[float, float]:
    """Two signs of real times: the share of buyers who start at the most common first moment (a high share means that
    times were made up), and the share of events at the same time as another of their buyer (baskets)."""
    starts = events.time[events.start[:-1]]
    _, counts = np.unique(starts, return_counts=True)
    same = (np.diff(events.time) == 0) & (np.diff(events.buyer) == 0)
    tied = np.zeros(len(events.time), np.bool_)
    tied[1:] |= same
    tied[:-1] |= same
    return float(counts.max() / len(starts)) if len(starts) > 1 else 0.0, float(tied.mean())


def short_buyers(events: Events) -> float:
    """The share of buyers with several events who make them all within a day."""
    several = np.diff(events.start) >= 2
    first, last = events.time[events.start[:-1][several]], events.time[events.start[1:][several] - 1]
    return float((last - first <= DAY_MS).mean()) if several.any() else 0.0


def newest_sessions(events: Events, days: float, note: str) -> Split:
    """Tests on the last event of each buyer whose first one is of the last `days`, and validates in the same way on the
    buyers of as many days before. Neither trains with any event of these buyers."""
    start, stop = events.start[:-1], events.start[1:]
    begin, period = events.time[start], round(days * DAY_MS)
    is_tested = begin >= int(events.time.max()) - period
    is_validated = ~is_tested & (begin >= int(events.time.max()) - 2 * period)
    return Split(
        "newest_sessions",
        np.where(is_validated | is_tested, start, stop),
        np.where(is_tested, start, stop),
        _last_events(events, is_validated),
        _last_events(events, is_tested),
        note,
    )


def _last_events(events: Events, chosen: Mask) -> Cases:
    """The last event of each chosen [buyers] buyer with several, after all before it."""
    start, stop = events.start[:-1], events.start[1:]
    buyers = np.flatnonzero(chosen & (stop - start >= 2))
    return Cases(buyers, start[buyers], stop[buyers] - 1, stop[buyers])


def leave_last_out(events: Events, note: str) -> Split:
    """Tests on each buyer's last event and validates on the one before it, for buyers with at least three events."""
    start, stop = events.start[:-1], events.start[1:]
    chosen = np.flatnonzero(stop - start >= 3)
    first, last = start[chosen], stop[chosen]
    train_stop, test_stop = stop.copy(), stop.copy()
    train_stop[chosen] = last - 2
    test_stop[chosen] = last - 1
    return Split(
        "leave_last_out",
        train_stop,
        test_stop,
        Cases(chosen, first, last - 2, last - 1),
        Cases(chosen, first, last - 1, last),
        note,
    )


def global_time(events: Events, days: float, note: str) -> Split:
    """Tests on the last `days` before the newest event, and validates on the same number of days before them."""
    cut = int(events.time.max()) - round(days * DAY_MS)
    before = cut - round(days * DAY_MS)
    at_cut, at_before = first_at(events, cut), first_at(events, before)
    return Split(
        "global_time",
        at_before,
        at_cut,
        _cases(events.start[:-1], at_before, at_cut),
        _cases(events.start[:-1], at_cut, events.start[1:]),
        note,
    )


def newest_events(events: Events, moment: int, note: str) -> Split:
    """Tests on the last event of each buyer with one after `moment` (ms) and one before that; validates on nothing."""
    start, stop = events.start[:-1], events.start[1:]
    is_tested = stop > np.maximum(start + 1, first_at(events, moment + 1))
    until = np.where(is_tested, stop - 1, stop)
    nobody = np.zeros(len(start), np.bool_)
    validation, test = _last_events(events, nobody), _last_events(events, is_tested)
    return Split("newest_events", until, until, validation, test, note)


def everything(events: Events) -> Int64:
    """`train_stop` [buyers] of a refit, which trains on every event."""
    return events.start[1:].copy()


def draw_hidden(products: int, share: float, seed: int) -> Mask:
    """True [N] for a random `share` of the products."""
    hidden = np.zeros(products, np.bool_)
    count = round(products * share)
    hidden[np.random.default_rng((seed, products)).choice(products, count, replace=False)] = True
    return hidden


def hide(events: Events, split: Split, hidden: Mask, exclude_seen: bool) -> tuple[Events, Split]:
    """Makes the `hidden` [N] products cold: removes their events from training, validation and every history.

    Their events stay as test targets; with `exclude_seen`, only if the buyer had no removed event with the product.
    """
    place = np.arange(len(events.buyer))
    before_test = place < split.test_stop[events.buyer]
    removed = hidden[events.product] & before_test
    if exclude_seen:
        pair = events.buyer.astype(np.int64) * len(hidden) + events.product
        removed |= hidden[events.product] & ~before_test & np.isin(pair, pair[removed])
    return _remove(events, split, removed)


def without_test(events: Events, split: Split) -> tuple[Events, Split]:
    """Removes the targets of the test, so that whoever gets these events cannot look at them; no test case is left."""
    return _remove(events, split, np.arange(len(events.buyer)) >= split.test_stop[events.buyer])


def _remove(events: Events, split: Split, removed: Mask) -> tuple[Events, Split]:
    """Removes events [M] and adapts the split. Cases that lose their whole history or all their targets are dropped."""
    new_place = np.concatenate(([0], np.cumsum(~removed)))
    kept = Events(
        buyer=events.buyer[~removed],
        product=events.product[~removed],
        kind=events.kind[~removed],
        time=events.time[~removed],
        start=new_place[events.start],
    )
    return kept, split._replace(
        train_stop=new_place[split.train_stop],
        test_stop=new_place[split.test_stop],
        validation=_move(split.validation, new_place),
        test=_move(split.test, new_place),
    )


def _move(cases: Cases, new_place: Int64) -> Cases:
    start, cut, stop = (new_place[column] for column in (cases.start, cases.cut, cases.stop))
    usable = (cut > start) & (stop > cut)
    return Cases(cases.buyer[usable], start[usable], cut[usable], stop[usable])


def trained_products(events: Events, train_stop: Int64, products: int, min_events: int = 1) -> Mask:
    """True [N] for products with a training event of a buyer who has at least `min_events` (2 make a pair)."""
    return training_counts(events, train_stop, products, min_events) > 0


def training_counts(events: Events, train_stop: Int64, products: int, min_events: int = 1) -> Int64:
    """Each product's number of training events [N], counting only buyers with at least `min_events`."""
    chosen = np.arange(len(events.buyer)) < train_stop[events.buyer]
    chosen &= (train_stop - events.start[:-1] >= min_events)[events.buyer]
    return np.bincount(events.product[chosen], minlength=products).astype(np.int64)


def sample(cases: Cases, limit: int, seed: int) -> Cases:
    """At most `limit` cases, drawn at random and kept in order; 0 = all."""
    if not limit or len(cases) <= limit:
        return cases
    chosen = np.sort(np.random.default_rng(seed).choice(len(cases), limit, replace=False))
    return Cases(*(column[chosen] for column in cases))


def first_at(events: Events, moment: int) -> Int64:
    """For each buyer, the index of the first event at or after `moment`, or of the buyer's stop if there is none."""
    earlier = np.concatenate(([0], np.cumsum(events.time < moment)))
    first: Int64 = events.start[:-1] + (earlier[events.start[1:]] - earlier[events.start[:-1]])
    return first


def _cases(start: Int64, cut: Int64, stop: Int64) -> Cases:
    chosen = np.flatnonzero((cut > start) & (stop > cut))
    return Cases(chosen, start[chosen], cut[chosen], stop[chosen])
