"""Counts, in the events of a training, which products are rising (`twotower.trending`)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from trainer.config.schema import Trending
from trainer.data.events import Events
from twotower.artifact.lists import Counted
from twotower.events import DAY_MS
from twotower.trending import Rising, find_rising


class CountedRising(NamedTuple):
    """When the buyers were counted, and what is rising."""

    counted: Counted
    rising: Rising


def count_rising(events: Events, products: int, settings: Trending) -> CountedRising | None:
    """The products that were rising at the newest event; None if the events do not reach back two windows.

    Windows end there, one before the other; a buyer counts once for each product and window, whatever was done.
    """
    if not len(events.time):
        return None
    until = int(events.time.max())
    window = (until - events.time) // int(settings.window_days * DAY_MS)
    past = min(int(window.max()), settings.past_windows)
    if not past:
        return None
    chosen = window <= past
    pair = events.buyer[chosen].astype(np.int64) * products + events.product[chosen]
    once, of_window = np.divmod(np.unique(pair * (past + 1) + window[chosen]), past + 1)
    is_recent = of_window == 0
    recent, before = (np.bincount(once[which] % products, minlength=products) for which in (is_recent, ~is_recent))
    counted = Counted(until_ms=until, window_days=settings.window_days, past_windows=past)
    return CountedRising(counted, find_rising(recent, before))
