"""The market's events are sorted on disk as they would be in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from demo.market.days import sort_by_day
from demo.market.simulate import Log
from demo.market.stock import DAY_SECONDS


def test_blocks_come_out_day_by_day_by_second_and_buyer(tmp_path: Path) -> None:
    draw = np.random.default_rng(5)
    # days before and after 1970, and one without events
    day = draw.choice([-2, -1, 0, 1, 7], 500)
    second = day * DAY_SECONDS + draw.integers(0, 40, 500)
    product, kind = draw.integers(0, 9, 500).astype(np.int32), draw.integers(0, 3, 500).astype(np.int8)
    log = Log(np.arange(500, dtype=np.int32)[::-1], product, kind, second)
    days = list(sort_by_day([log.take(slice(0, 123)), log.take(slice(123, 500))], tmp_path))
    assert [np.unique(one.second // DAY_SECONDS).tolist() for one in days] == [[-2], [-1], [0], [1], [7]]
    expected = sorted(zip(*(column.tolist() for column in log), strict=True), key=lambda event: (event[3], event[0]))
    together = Log(*(np.concatenate(column) for column in zip(*days, strict=True)))
    assert list(zip(*(column.tolist() for column in together), strict=True)) == expected
    assert [column.dtype for column in together] == [column.dtype for column in log]
