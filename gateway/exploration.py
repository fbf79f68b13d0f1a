"""Exploration: some slots of a buyer's list show a product that the model ranks lower, drawn at random.

What a model never shows, it never learns. Which products were explored is logged with the list.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from gateway.clients.services import Hits
from twotower.arrays import Int64
from twotower.pb import retrieval_pb2
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
        packed = wire.pack_ids([ids[place] for place in places])
        order = np.array(places, np.int64)
        mixed = hits._replace(packed_ids=packed, scores=hits.scores[order], reasons=_ordered(hits, order))
        return Explored(mixed, "\n".join(ids[places[slot]] for slot in slots))


def _ordered(hits: Hits, order: Int64) -> retrieval_pb2.Reasons | None:
    if hits.reasons is None:
        return None
    rows = wire.unpack_scores(hits.reasons.contributions).reshape(len(hits.scores), -1)[order]
    return retrieval_pb2.Reasons(product_ids=hits.reasons.product_ids, contributions=rows.astype("<f4").tobytes())
