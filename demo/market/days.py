"""Sorts the events of the market by time on disk: memory holds one day of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from demo.market.simulate import Log
from demo.market.stock import DAY_SECONDS

_EVENT = np.dtype([("buyer", "<i4"), ("product", "<i4"), ("kind", "i1"), ("second", "<i8")])


def sort_by_day(blocks: Iterable[Log], folder: Path) -> Iterator[Log]:
    """The events of all blocks in the order of `Log.sorted`, one day at a time; `folder` takes a file for each day."""
    days: set[int] = set()
    for block in blocks:
        day = block.second // DAY_SECONDS
        order = np.argsort(day, kind="stable")
        records = np.empty(len(order), _EVENT)
        for name, column in zip(Log._fields, block.take(order), strict=True):
            records[name] = column
        numbers, starts = np.unique(day[order], return_index=True)
        for number, part in zip(numbers.tolist(), np.split(records, starts[1:]), strict=True):
            days.add(number)
            with (folder / str(number)).open("ab") as file:
                file.write(part.tobytes())
    for number in sorted(days):
        records = np.fromfile(folder / str(number), _EVENT)
        yield Log(*(records[name] for name in Log._fields)).sorted()
