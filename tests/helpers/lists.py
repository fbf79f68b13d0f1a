"""Lists of a tiny version that need no vector: repeat purchases and rising products, with round figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tests.helpers.tiny_version import CATEGORIES, NOON
from twotower.artifact.layout import VersionLayout
from twotower.artifact.lists import Counted, RepeatModel
from twotower.repeats import RepeatTable
from twotower.trending import Rising, save_rising

# rates of one in ten days; after a purchase one buyer in six gives up
MODEL = RepeatModel(
    event="Purchase",
    regularity=1,
    shape=1.0,
    scale_days=10.0,
    leave=1.0,
    stay=5.0,
    horizon_days=30.0,
    min_returns=0.1,
    pairs=100,
    repeated=60,
)
COUNTED = Counted(until_ms=NOON, window_days=7.0, past_windows=8)
# row → score, buyers, expected; strongest first
RISES = {5: (3.0, 40, 10.0), 2: (2.0, 30, 12.0), 9: (1.5, 20, 11.0)}


def write_lists(files: VersionLayout, products: int = 40, returns: Mapping[int, float] | None = None) -> dict[str, Any]:
    """Every product has a usual interval of 10 days and a share of returning buyers of 0.5; `returns` are other shares
    by row.
    """
    usual = [60.0, 0.5, 1.0, np.log(10.0), 0.5]
    table = RepeatTable(
        np.tile(np.array(usual, np.float32), (products, 1)),
        np.tile(np.array(usual, np.float32), (len(CATEGORIES) + 1, 1)),
    )
    for row, share in (returns or {}).items():
        table.products[row, 1] = share
    table.save(files)
    scores, buyers, expected = (np.array(column, np.float32) for column in zip(*RISES.values(), strict=True))
    save_rising(Rising(np.array(list(RISES), np.int64), scores, buyers, expected), files)
    return {"repeats": MODEL, "trending": COUNTED}
