"""Measures whether buyers come back to products, which decides whether products of a history are recommended."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from trainer.data.events import Events
from trainer.data.moments import first_of_moment
from twotower.arrays import Int64
from twotower.events import EventSchema

# From this share of repeats on, `auto` recommends products of the history.
REPEAT_BOUND = 0.1
# A kind of event with fewer events after a buyer's first moment says nothing: the standard error at the bound is .04.
_MIN_EVENTS = 50


class Repeats(NamedTuple):
    """The share of `kind` events whose product the buyer had at an earlier moment, in an event of the same kind.

    Of the `events` that are counted, each has an earlier moment of the same buyer. `kind` is empty if no kind has
    enough events.
    """

    kind: str
    events: int
    share: float

    @property
    def are_common(self) -> bool:
        return self.share >= REPEAT_BOUND


def measure_repeats(events: Events, train_stop: Int64, schema: EventSchema) -> Repeats:
    """Measures the training events of the heaviest kind that is not too rare.

    The heaviest kind, because a second view on the way to a purchase does not mean that the buyer wants the product
    twice: where purchases are known, they decide; where there are only views, as in sessions without a login, views do.
    """
    place = np.arange(len(events.buyer))
    moment = first_of_moment(events)
    is_counted = (place < train_stop[events.buyer]) & (moment > events.start[events.buyer])
    is_repeat = _first_of_kind(events) < moment
    for name in sorted(schema.names, key=lambda one: schema.weights[one], reverse=True):
        chosen = is_counted & (events.kind == schema.codes[name])
        if (count := int(chosen.sum())) >= _MIN_EVENTS:
            return Repeats(name, count, float(is_repeat[chosen].mean()))
    return Repeats("", 0, 0.0)


def _first_of_kind(events: Events) -> Int64:
    """For each event [M], the buyer's first event of the same kind with the same product."""
    products, kinds = int(events.product.max(initial=0)) + 1, int(events.kind.max(initial=0)) + 1
    key = (events.buyer.astype(np.int64) * products + events.product) * kinds + events.kind
    _, first, group = np.unique(key, return_index=True, return_inverse=True)
    earliest: Int64 = first[group]
    return earliest
