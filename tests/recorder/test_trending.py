"""What the recorder counts in its files, with a real Redis."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recorder import drain
from recorder.drain import Recorder
from recorder.files import LogFolder, write_table
from recorder.rows import Part, table_of
from recorder.settings import RecorderSettings
from recorder.source import connect_redis
from recorder.trending import TrendingCount, Windows
from tests.helpers.event_log import send, view
from tests.helpers.redis_server import RedisServer
from twotower.errors import Unavailable
from twotower.trending import TRENDING_KEY, find_rising, unpack_table

DAY = 86_400_000
# noon, so that a window of a day begins and ends within days
NOW = 20_000 * DAY + DAY // 2


class Log:
    """Files of a log, and their rows: (buyer or guest, product, days ago)."""

    def __init__(self, root: Path) -> None:
        self.folder = LogFolder(root)
        self._files = 0

    def add(self, *rows: tuple[str, str, float], late_days: float = 0.0, event: str = "View") -> None:
        by_day: dict[str, list[tuple[Any, ...]]] = {}
        for owner, product, ago in rows:
            logged = NOW - round(ago * DAY)
            named = {"buyer": None, "session": owner[6:]} if owner.startswith("guest:") else {"buyer": owner}
            happened = logged - round(late_days * DAY)
            record = view(
                f"{owner} {product} {ago}", **named, product_id=product, timestamp_ms=happened, event_type=event
            )
            day = time.strftime("%Y-%m-%d", time.gmtime(logged / 1000))
            by_day.setdefault(day, []).append((*record, logged))
        for day, found in by_day.items():
            self._files += 1
            path = self.folder.folder(Part("interactions", day)) / f"{self._files}-0.parquet"
            write_table(path, table_of("interactions", found))


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path / "log")


def count_of(log: Log, server: RedisServer, past: int = 3) -> TrendingCount:
    source = connect_redis(server.url, 5.0)
    return TrendingCount(source.connected, log.folder.root, Windows(DAY, past))


def stored(raw: Any) -> tuple[dict[str, tuple[float, float, float]], Any]:
    ids, figures, counted = unpack_table(raw.get(TRENDING_KEY))
    return {one: tuple(column) for one, column in zip(ids, figures.T.tolist(), strict=True)}, counted


def test_buyers_of_the_window_are_compared_with_those_of_whole_windows_before(
    log: Log, server: RedisServer, raw: Any
) -> None:
    # p1 has 12 new buyers, one of whom comes a hundred times; p2 has as many as each day before
    log.add(*((f"b{place}", "p1", 0.3) for place in range(11)), ("guest:s", "p1", 0.2))
    log.add(*(("b0", "p1", 0.1 + step / 10_000) for step in range(30)))
    log.add(*((f"b{place}", "p2", 0.1 + ago) for ago in (0, 2, 3) for place in range(4)))
    # of no window: between the last one and whole ones before it, and too long ago
    log.add(("b1", "p1", 1.2), ("b1", "p1", 9.0))
    assert count_of(log, server).refresh(NOW)
    rises, counted = stored(raw)
    # the two whole days that the log has before the window have four buyers of p2 each
    wanted = find_rising(np.array([12, 4]), np.array([0, 8]))
    assert wanted.places.tolist() == [0]
    assert rises == {"p1": (pytest.approx(float(wanted.scores[0])), 12, 0)}
    assert (counted.until_ms, counted.window_days, counted.past_windows) == (NOW, 1.0, 2)


def test_what_is_logged_late_and_what_is_dismissed_is_no_news(log: Log, server: RedisServer, raw: Any) -> None:
    log.add(*((f"b{place}", "p2", 2.1) for place in range(9)))
    log.add(*((f"b{place}", "p1", 0.3) for place in range(20)), late_days=2.0)
    log.add(*((f"b{place}", "p3", 0.3) for place in range(20)), event="Dismiss")
    assert count_of(log, server).refresh(NOW)
    rises, _ = stored(raw)
    assert rises == {}


def test_a_log_that_has_just_begun_leaves_no_table(log: Log, server: RedisServer, raw: Any) -> None:
    log.add(*((f"b{place}", "p1", 0.3) for place in range(20)))
    assert not count_of(log, server).refresh(NOW)
    assert raw.get(TRENDING_KEY) is None


def test_past_windows_are_counted_once_until_their_files_change(
    log: Log, server: RedisServer, raw: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.add(*((f"b{place}", "p2", 2.1) for place in range(9)), ("b", "p1", 0.1))
    counter = count_of(log, server)
    spans = list[tuple[int, int]]()
    count = counter._count
    monkeypatch.setattr(counter, "_count", lambda start, end: spans.append((start, end)) or count(start, end))
    counter.refresh(NOW)
    assert len(spans) == 4
    spans.clear()
    counter.refresh(NOW + 60_000)
    assert spans == [(NOW + 60_000 - DAY, NOW + 60_000)]
    spans.clear()
    log.add(("late", "p2", 2.2))
    counter.refresh(NOW + 60_000)
    # p2 was seen 2.2 days ago, at the start of that day
    assert spans == [(NOW + 60_000 - DAY, NOW + 60_000), (19_998 * DAY, 19_999 * DAY)]
    spans.clear()
    counter.refresh(NOW + DAY)
    assert spans == [(NOW, NOW + DAY), (19_999 * DAY, 20_000 * DAY)]


def test_a_file_that_cannot_be_read_is_left_out(
    log: Log, server: RedisServer, raw: Any, caplog: pytest.LogCaptureFixture
) -> None:
    log.add(*((f"b{place}", "p2", 2.1) for place in range(9)), *((f"b{place}", "p1", 0.1) for place in range(9)))
    (log.folder.root / "interactions" / "day=2024-10-04").mkdir(exist_ok=True)
    broken = next(log.folder.root.glob("interactions/day=*")) / "0-0.parquet"
    broken.write_bytes(b"nothing")
    assert count_of(log, server).refresh(NOW)
    assert "0-0.parquet is not counted" in caplog.text
    assert list(stored(raw)[0]) == ["p1"]


def test_redis_that_is_down_is_unavailable(log: Log) -> None:
    log.add(("b", "p2", 2.1))
    with pytest.raises(Unavailable):
        count_of(log, RedisServer()).refresh(NOW)


def test_the_recorder_counts_what_it_has_written(
    server: RedisServer, raw: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drain, "_WAIT_SECONDS", 0.001)
    settings = RecorderSettings(artifacts=tmp_path, redis_url=server.url, flush_seconds=0.001, trending_seconds=0.001)
    source, folder = connect_redis(server.url, 5.0), LogFolder(settings.layout.log)
    trending = TrendingCount(source.connected, folder.root, Windows(DAY, 28))
    recorder = Recorder(source, folder, settings, trending=trending)
    now = int(time.time() * 1000)
    for ago, product in ((3, "p2"), (0, "p1")):
        views = [
            view(f"{product}-{place}", f"b{place}", product_id=product, timestamp_ms=now - ago * DAY)
            for place in range(9)
        ]
        send(raw, "interactions", *views, place=f"{now - ago * DAY}-0")
    recorder.step()
    while raw.get(TRENDING_KEY) is None:
        recorder.step()
    assert list(stored(raw)[0]) == ["p1"]
