"""Baskets and sessions: the products that one buyer bought at one time, or looked at in one visit."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import sparse

from trainer.config.schema import Together
from trainer.data.events import Events
from trainer.data.matrix import MOST_PAIRS
from twotower.arrays import Float64, Int64, Mask

_MINUTE_MS = 60_000


class Groups(NamedTuple):
    """Groups of distinct products, oldest first.

    `members` [G, N]: 1 for a product of the group. `end` [G]: time of the last event, ms.
    """

    members: sparse.csr_matrix
    end: Int64

    @property
    def sizes(self) -> Int64:
        """The number of products of each group [G]."""
        return np.asarray(np.diff(self.members.indptr), np.int64)

    def take(self, chosen: Mask) -> Groups:
        """Some of the groups."""
        return Groups(self.members[np.flatnonzero(chosen)], self.end[chosen])

    def weights(self, size_power: float) -> Float64:
        """What a pair of each group weighs [G]: 1 / (size - 1) ^ `size_power`."""
        return np.asarray(np.maximum(self.sizes - 1, 1).astype(np.float64) ** -size_power)


class Shopping(NamedTuple):
    """All groups that complements are learned from."""

    baskets: Groups
    sessions: Groups

    def until(self, time: int) -> Shopping:
        """The groups that ended by `time`, ms."""
        return Shopping(*(one.take(one.end <= time) for one in self))


def read_shopping(events: Events, products: int, purchase: int, settings: Together) -> Shopping:
    """Baskets of the events of the kind `purchase`, and sessions of all others.

    A purchase is in no session: it was looked at before, or it would tell the same thing twice.
    """
    is_purchase = events.kind == purchase
    baskets = _group(events, is_purchase, settings.basket_minutes, products, settings.largest)
    return Shopping(baskets, _group(events, ~is_purchase, settings.session_minutes, products, settings.largest))


def _group(events: Events, chosen: Mask, minutes: float, products: int, largest: int) -> Groups:
    """Groups the chosen events: one of the same buyer, at most `minutes` after the one before, is in its group."""
    places = np.flatnonzero(chosen)
    buyer, time = events.buyer[places], events.time[places]
    starts = np.ones(len(places), np.bool_)
    starts[1:] = (np.diff(buyer) != 0) | (np.diff(time) > minutes * _MINUTE_MS)
    group = np.cumsum(starts) - 1
    count = int(starts.sum())
    end = np.zeros(count, np.int64)
    end[group] = time  # the last event of a group stays
    shape = (count, products)
    members = sparse.csr_matrix((np.ones(len(places), np.float64), (group, events.product[places])), shape=shape)
    members.data[:] = 1  # a product counts once
    order = np.argsort(end, kind="stable")
    sizes = np.diff(members.indptr)[order]
    found = Groups(members[order], end[order])
    return found.take(_within(sizes, largest))


def _within(sizes: Int64, largest: int) -> Mask:
    """Leaves out groups of more than `largest` products and, if there are too many pairs of products, old groups."""
    fits = sizes <= largest
    pairs = np.cumsum((np.where(fits, sizes, 0).astype(np.float64) ** 2)[::-1])[::-1]
    return fits & (pairs <= MOST_PAIRS)
