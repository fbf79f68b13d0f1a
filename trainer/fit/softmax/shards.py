"""The sequences of a training, cut by buyer for several workers."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from trainer.data.events import Events
from trainer.fit.softmax.sampler import Plan, Sampler
from trainer.fit.training_set import TrainingSet


class Shard(NamedTuple):
    """The sequences of one worker's buyers, and what it knows of all windows."""

    data: TrainingSet
    plan: Plan


def cut_shard(data: TrainingSet, sampler: Sampler, rank: int, count: int) -> Shard:
    """Every `count`-th buyer from `rank` on. `sampler` is that of all `data`."""
    events = data.events
    chosen = events.buyer % count == rank
    sizes, seen = np.diff(events.start)[rank::count], (data.stop - events.start[:-1])[rank::count]
    start = np.concatenate(([0], np.cumsum(sizes))).astype(events.start.dtype)
    columns = (events.product[chosen], events.kind[chosen], events.time[chosen])
    shard = TrainingSet(Events(events.buyer[chosen] // count, *columns, start), start[:-1] + seen)
    is_own = events.buyer[sampler.windows[:, 0]] % count == rank
    row = np.where(is_own, np.cumsum(is_own) - 1, -1)
    return Shard(shard, Plan(sampler.plan.pairs, sampler.target_share, row))
