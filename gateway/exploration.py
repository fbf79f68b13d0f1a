"""Exploration: some slots of a buyer's list show a product that the model ranks lower, drawn at random.

What a model never shows, it never learns. Which products were explored is logged with the list.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from gateway.clients.answers import Hits
from gateway.clients.hits import take
from twotower.serving import wire

# explored products are drawn from so many that follow the list's own
DEPTH = 100


class Explored(NamedTuple):
    """A list with exploration, and the ids that exploration put in, one a line."""

    hits: Hits
    ids: str


@dataclass(frozen=True)
class Exploration:
    """Each slot of a list explores with probability `share`."""

    share: float
    draw: random.Random = field(default_factory=random.Random)

    def mix(self, hits: Hits, k: int) -> Explored:
        """The first `k` of these hits, where each slot may hold one of the `DEPTH` that follow them, none twice.

        A product keeps its own score.
        """
        ids = wire.unpack_ids(hits.packed_ids)
        places = list(range(min(k, len(ids))))
        others = list(range(k, min(k + DEPTH, len(ids))))
        slots = [slot for slot in places if self.draw.random() < self.share][: len(others)]
        for slot, place in zip(slots, self.draw.sample(others, len(slots)), strict=True):
            places[slot] = place
        mixed = take(hits, np.array(places, np.int64))
        return Explored(mixed, "\n".join(ids[places[slot]] for slot in slots))
