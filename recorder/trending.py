"""Counts in the log which products are rising (`twotower.trending`), and leaves the table in Redis for the gateways.

The recorder counts because it alone sees what every gateway has accepted, each event in a file once. The last window
slides; the windows of the past are fixed spans of time, so each is counted once, until its files change.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from redis import Redis, RedisCluster
from redis.exceptions import RedisClusterException, RedisError

from twotower.artifact.lists import Counted
from twotower.errors import Unavailable
from twotower.event_log import DISMISS, GUEST, log_files
from twotower.trending import TRENDING_KEY, find_rising, pack_table

log = logging.getLogger(__name__)

_DAY_MS = 86_400_000
_COLUMNS = ["buyer_id", "session_id", "product_id", "event_type", "timestamp_ms", "logged_ms"]


class Windows(NamedTuple):
    """How long a window is, in milliseconds, and how many before the last one count."""

    span_ms: int
    past: int


class TrendingCount:
    """Counts buyers by product. It remembers the windows of the past that it has counted."""

    def __init__(self, connect: Callable[[], Redis | RedisCluster], root: Path, windows: Windows) -> None:
        self._connect = connect
        self._root = root
        self._windows = windows
        # number of a window since 1970 → the state of its files, and its buyers by product
        self._counted: dict[int, tuple[object, Counter[str]]] = {}
        # the files of each day, as they were last listed
        self._days: dict[str, list[Path]] = {}

    def refresh(self, now_ms: int) -> bool:
        """Counts up to now and writes the table; says whether the log reaches back far enough. Raises Unavailable.

        It must reach back at least two windows. A file that cannot be read is logged and left out.
        """
        span, past = self._windows
        self._days = {
            day: list(paths)
            for day, paths in groupby(log_files(self._root, "interactions"), lambda one: one.parent.name)
        }
        recent = self._count(now_ms - span, now_ms)
        last = (now_ms - span) // span
        numbers = range(max(last - past, 0), last)
        self._counted = {number: self._recount(number) for number in numbers}
        used = [number for number in numbers if self._counted[number][1]]
        before = sum((self._counted[number][1] for number in used), Counter[str]())
        if not before:
            return False
        products = sorted(recent.keys() | before.keys())
        found = find_rising(*(np.array([one[product] for product in products], np.int64) for one in (recent, before)))
        counted = Counted(until_ms=now_ms, window_days=span / _DAY_MS, past_windows=last - used[0])
        table = pack_table([products[place] for place in found.places.tolist()], found, counted)
        try:
            self._connect().set(TRENDING_KEY, table)
        except (RedisError, RedisClusterException) as error:
            raise Unavailable(f"Redis: {error}") from None
        return True

    def _recount(self, number: int) -> tuple[object, Counter[str]]:
        span = self._windows.span_ms
        start, end = number * span, (number + 1) * span
        # a recorder that was away writes late, and compaction removes forgotten buyers
        state = [(path, path.stat().st_mtime_ns) for path in self._files(start, end)]
        known = self._counted.get(number)
        return known if known is not None and known[0] == state else (state, self._count(start, end))

    def _count(self, start_ms: int, end_ms: int) -> Counter[str]:
        """Buyers by product from `start_ms` on and before `end_ms`, by the time of the log: each buyer once a product.

        What was logged more than a window after it happened is no news, and does not count.
        """
        pairs = set[tuple[str, str]]()
        for rows in self._rows(start_ms, end_ms):
            # a session is a buyer of its own until it is known whose it is
            guests = pc.binary_join_element_wise(GUEST, rows["session_id"], "")
            owners = pc.coalesce(rows["buyer_id"], guests)
            pairs.update(zip(owners.to_pylist(), rows["product_id"].to_pylist(), strict=True))
        return Counter(product for _, product in pairs)

    def _rows(self, start_ms: int, end_ms: int) -> Iterator[pa.Table]:
        for path in self._files(start_ms, end_ms):
            try:
                rows: Any = pq.read_table(path, columns=_COLUMNS)
            except (pa.ArrowException, OSError) as error:
                log.error("%s is not counted, it cannot be read: %s", path, error)
                continue
            logged, happened = rows["logged_ms"], rows["timestamp_ms"]
            is_inside = pc.and_(pc.greater_equal(logged, start_ms), pc.less(logged, end_ms))
            is_news = pc.less_equal(pc.subtract(logged, happened), self._windows.span_ms)
            is_wanted = pc.not_equal(rows["event_type"], DISMISS)
            yield rows.filter(pc.and_(pc.and_(is_inside, is_news), is_wanted))

    def _files(self, start_ms: int, end_ms: int) -> list[Path]:
        days = dict.fromkeys(_day(one) for one in (*range(start_ms, end_ms, _DAY_MS), end_ms - 1))
        return [path for day in days for path in self._days.get(day, ())]


def _day(time_ms: int) -> str:
    return f"day={datetime.fromtimestamp(time_ms / 1000, UTC).date().isoformat()}"
