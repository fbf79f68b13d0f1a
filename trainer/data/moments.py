"""Moments: the events of one buyer at one time, a basket for example."""

from __future__ import annotations

import numpy as np

from trainer.data.events import Events
from twotower.arrays import Int64


def first_of_moment(events: Events) -> Int64:
    """For each event [M], the first event of the same buyer at the same time."""
    new = np.ones(len(events.buyer), np.bool_)
    new[1:] = (np.diff(events.buyer) != 0) | (np.diff(events.time) != 0)
    places = np.where(new, np.arange(len(new)), 0)
    return np.maximum.accumulate(places) if len(places) else places
