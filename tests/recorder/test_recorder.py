"""The recorder with a real Redis: every entry once in a file, whatever ends or fails in between."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

import pyarrow.parquet as pq
import pytest

from recorder import drain
from recorder.drain import Recorder
from recorder.files import LogFolder
from recorder.settings import RecorderSettings
from recorder.source import RedisStream, connect_redis
from tests.helpers.event_log import NOON, rows, send, shown, view
from tests.helpers.processes import Process, is_log, process
from tests.helpers.redis_server import RedisServer
from tests.helpers.services import read_url
from twotower.errors import Unavailable
from twotower.event_log import GROUP, STREAM, MergeRecord, event_id_of, log_files
from twotower.forgotten import forget_buyer

DAY = 86_400_000


class Clock:
    """A clock that a test moves."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drain, "_WAIT_SECONDS", 0.001)


Make = Callable[..., Recorder]


@pytest.fixture
def make(server: RedisServer, tmp_path: Path) -> Make:
    """Makes recorders on one folder; `make.clock` is the clock of all."""

    def build(clock: Clock, **changes: Any) -> Recorder:
        settings = RecorderSettings(artifacts=tmp_path, redis_url=server.url, retry_seconds=0.01, **changes)
        return Recorder(connect_redis(server.url, 5.0), LogFolder(settings.layout.log), settings, clock)

    return build


def flush(recorder: Recorder, clock: Clock) -> None:
    """Takes what there is, and writes it."""
    recorder.step()
    clock.now += 31
    recorder.step()


def pending(raw: Any) -> int:
    return int(raw.xpending(STREAM, GROUP)["pending"])


def test_every_kind_is_a_file_of_its_day(make: Make, raw: Any, tmp_path: Path) -> None:
    log, clock = tmp_path / "private" / "log", Clock()
    first = send(raw, "interactions", view("e1", quantity=2, price=9.5), view("e2", None, "s"), place=f"{NOON}-0")
    send(raw, "lists", shown("r1", ["p1", "p2"]), shown("r2", []), place=f"{NOON}-1")
    send(raw, "merges", MergeRecord("s", "b", NOON), place=f"{NOON + DAY}-0")
    raw.xadd(STREAM, {"encoded": f"x\x1ep1\0View\0{NOON}\x1ep2\0Purchase\0{NOON}"}, id=f"{NOON + DAY}-1")
    recorder = make(clock, compact_seconds=1e9)
    flush(recorder, clock)
    assert [
        str(path.relative_to(log)) for kind in ("interactions", "lists", "merges") for path in log_files(log, kind)
    ] == [
        f"interactions/day=2025-01-01/{first}.parquet",
        f"interactions/day=2025-01-02/{first}.parquet",
        f"lists/day=2025-01-01/{first}.parquet",
        f"merges/day=2025-01-02/{first}.parquet",
    ]
    assert [row["product_ids"] for row in rows(log, "lists")] == [["p1", "p2"], []]
    found = rows(log, "interactions")
    assert found[0] == {**view("e1", quantity=2, price=9.5)._asdict(), "logged_ms": NOON}
    assert [row["event_id"] for row in found[2:]] == [
        event_id_of("x", "p1", "View", NOON),
        event_id_of("x", "p2", "Purchase", NOON),
    ]
    assert pq.ParquetFile(log_files(log, "lists")[0]).metadata.row_group(0).column(0).compression == "ZSTD"
    # confirmed, and removed from the stream
    assert (pending(raw), raw.xlen(STREAM)) == (0, 0)
    assert {path.stat().st_mode & 0o077 for path in log.rglob("*.parquet")} == {0}


def test_what_was_taken_and_not_written_is_taken_again(make: Make, raw: Any, tmp_path: Path) -> None:
    clock = Clock()
    send(raw, "interactions", view("e1"))
    first = make(clock)
    first.step()
    assert pending(raw) == 1
    # it ends here; another one begins, while more arrives
    send(raw, "interactions", view("e2"))
    second = make(clock)
    flush(second, clock)
    assert [row["event_id"] for row in rows(tmp_path / "private" / "log", "interactions")] == ["e1", "e2"]
    assert (pending(raw), raw.xlen(STREAM)) == (0, 0)


def test_a_crash_between_file_and_confirmation_doubles_nothing(
    make: Make, raw: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    for name in ("e1", "e2"):
        send(raw, "interactions", view(name))
    first = make(clock)
    first.step()
    clock.now += 31
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(RedisStream, "confirm", _raise(KeyboardInterrupt()))
        first.step()
    assert len(rows(tmp_path / "private" / "log", "interactions")) == 2
    send(raw, "interactions", view("e3"))
    flush(make(clock), clock)
    names = [row["event_id"] for row in rows(tmp_path / "private" / "log", "interactions")]
    assert names == ["e1", "e2", "e3"]


def _raise(error: BaseException) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


def test_a_full_disk_loses_nothing_and_takes_nothing_more(
    make: Make, raw: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock, ready = Clock(), tmp_path / "ready"
    recorder = make(clock, ready_file=ready)
    send(raw, "interactions", view("e1"))
    recorder.step()
    clock.now += 31
    stop = Event()
    tries = []

    def full(*_: object, **__: object) -> None:
        tries.append(ready.exists())
        if len(tries) == 2:
            send(raw, "interactions", view("e2"))
        if len(tries) == 4:
            stop.set()
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("recorder.files.write_table", full)
        recorder.run(stop)
    assert tries[1:] == [False] * 4  # the last one before it ended
    assert caplog.text.count("nothing is written: [Errno 28] No space left on device") == 1
    assert (pending(raw), raw.xlen(STREAM)) == (1, 2)
    flush(make(clock), clock)
    assert [row["event_id"] for row in rows(tmp_path / "private" / "log", "interactions")] == ["e1", "e2"]


def test_redis_may_be_away_and_come_back_empty(server: RedisServer, make: Make, raw: Any, tmp_path: Path) -> None:
    clock = Clock()
    recorder = make(clock)
    send(raw, "interactions", view("e1"))
    recorder.step()
    server.kill()
    with pytest.raises(Unavailable):
        recorder.step()
    server.start()
    send(raw, "interactions", view("e2"))
    recorder.step()
    clock.now += 31
    recorder.step()
    assert [row["event_id"] for row in rows(tmp_path / "private" / "log", "interactions")] == ["e1", "e2"]
    assert raw.xlen(STREAM) == 0


def test_an_entry_that_cannot_be_read_stops_nothing(
    make: Make, raw: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    raw.xadd(STREAM, {"interactions": b'[["secret"]]'}, id="5-0")
    raw.xadd(STREAM, {"lists": b"no JSON"})
    raw.xadd(STREAM, {"encoded": b"b\x1ep1"})
    raw.xadd(STREAM, {"wishes": b"[[1]]"})
    send(raw, "interactions", view("e1"))
    flush(make(clock), clock)
    assert [row["event_id"] for row in rows(tmp_path / "private" / "log", "interactions")] == ["e1"]
    assert caplog.text.count("of the log cannot be read") == 4
    assert "entry 5-0" in caplog.text and "secret" not in caplog.text
    assert raw.xlen(STREAM) == 0


def test_forgotten_buyers_are_not_written_and_leave_the_files(make: Make, raw: Any, tmp_path: Path) -> None:
    log, clock = tmp_path / "private" / "log", Clock()
    recorder = make(clock, compact_seconds=3600)
    send(raw, "interactions", view("e1", "stays"), view("e2", "goes"), view("e3", None, "s1"), view("e4", None, "s2"))
    send(
        raw,
        "lists",
        shown("r1", ["p"], buyer="goes"),
        shown("r2", ["p"], buyer=None),
        shown("r3", ["p"], buyer="stays"),
    )
    send(raw, "merges", MergeRecord("s1", "goes", NOON), MergeRecord("s2", "stays", NOON))
    flush(recorder, clock)
    forget_buyer(tmp_path / "private" / "forgotten.txt", "goes")
    send(raw, "interactions", view("e5", "goes"), view("e6", "stays"))
    flush(recorder, clock)
    assert [row["event_id"] for row in rows(log, "interactions")] == ["e1", "e2", "e3", "e4", "e6"]
    clock.now += 3600
    recorder.step()
    assert [row["event_id"] for row in rows(log, "interactions")] == ["e1", "e4", "e6"]
    assert [row["recommendation_id"] for row in rows(log, "lists")] == ["r2", "r3"]
    assert [row["session_id"] for row in rows(log, "merges")] == ["s2"]
    assert not [path for path in log.rglob("*") if path.is_file() and b"goes" in path.read_bytes()]


def test_a_past_day_becomes_one_file(make: Make, raw: Any, tmp_path: Path) -> None:
    log, clock = tmp_path / "private" / "log", Clock()
    recorder = make(clock, compact_seconds=3600)
    for number in range(3):
        send(raw, "interactions", view(f"old{number}"), place=f"{NOON + number}-0")
        flush(recorder, clock)
    for number in range(2):
        send(raw, "interactions", view(f"new{number}"))
        flush(recorder, clock)
    assert len(log_files(log, "interactions")) == 5
    damaged = log / "interactions" / "day=2024-12-31"
    damaged.mkdir()
    (damaged / "1-0.parquet").write_bytes(b"no Parquet")
    clock.now += 3600
    recorder.step()
    (damaged / "1-0.parquet").unlink()
    assert [path.name for path in log_files(log, "interactions")[:1]] == [f"{NOON}-0.parquet"]
    assert len(log_files(log, "interactions")) == 3
    names = [row["event_id"] for row in rows(log, "interactions")]
    assert names == ["old0", "old1", "old2", "new0", "new1"]


def recording(server: RedisServer, artifacts: Path, **environ: str) -> Any:
    settings = {"TWOTOWER_ARTIFACTS": str(artifacts), "TWOTOWER_RECORDER_REDIS_URL": server.url, **environ}
    return process("-m", "recorder", environ=settings)


def is_recording(line: str) -> bool:
    return is_log(line, "recording")


def wrote(line: str) -> bool:
    return "entries" in line and "wrote" in line


def test_kill_9_at_any_moment_loses_and_doubles_nothing(server: RedisServer, raw: Any, tmp_path: Path) -> None:
    """Entries keep coming while recorders are killed, each after another number of files."""
    log, sent = tmp_path / "private" / "log", 0

    def send_some() -> None:
        nonlocal sent
        for _ in range(20):
            send(raw, "interactions", view(f"e{sent}"))
            sent += 1

    for files in range(4):
        send_some()
        with recording(server, tmp_path, TWOTOWER_RECORDER_FLUSH_SECONDS="0.01") as running:
            running.wait_for(is_recording)
            for _ in range(files):
                running.wait_for(wrote)
                send_some()
            os.kill(running.popen.pid, signal.SIGKILL)
            running.finish()
    send_some()
    with recording(server, tmp_path, TWOTOWER_RECORDER_FLUSH_SECONDS="0.01") as running:
        while raw.xlen(STREAM):
            running.wait_for(wrote)
        stop(running)
    names = [row["event_id"] for row in rows(log, "interactions")]
    assert sorted(names) == sorted(f"e{number}" for number in range(sent))
    assert raw.xlen(STREAM) == 0


def stop(running: Process) -> None:
    """SIGTERM; entries in memory are written first."""
    running.popen.send_signal(signal.SIGTERM)
    assert running.finish() == 0
    assert is_log(running.lines[-1], "stopped")


def test_its_metrics_show_the_room_on_its_disk(server: RedisServer, tmp_path: Path) -> None:
    with recording(server, tmp_path) as running:
        port = json.loads(running.wait_for(is_recording))["metrics_port"]
        page = read_url(f"http://127.0.0.1:{port}/metrics")
        (line,) = [line for line in page.splitlines() if line.startswith("twotower_recorder_disk_free_bytes ")]
        assert 0 < float(line.split()[1]) < shutil.disk_usage(tmp_path).total


def test_sigterm_writes_what_was_taken(server: RedisServer, raw: Any, tmp_path: Path) -> None:
    send(raw, "interactions", view("e1"))
    with recording(server, tmp_path) as running:
        running.wait_for(is_recording)
        while not raw.exists(STREAM) or not raw.xinfo_groups(STREAM) or not pending(raw):
            assert running.popen.poll() is None
        stop(running)
    assert [row["event_id"] for row in rows(tmp_path / "private" / "log", "interactions")] == ["e1"]


def test_two_recorders_do_not_write_one_folder(server: RedisServer, raw: Any, tmp_path: Path) -> None:
    folder = LogFolder(tmp_path / "private" / "log")
    with folder.held(), recording(server, tmp_path) as running:
        assert running.finish() == 1
    assert running.lines == [f"recorder: another recorder writes {folder.root}"]


def test_a_wrong_setting_ends_it(server: RedisServer, tmp_path: Path) -> None:
    with recording(server, tmp_path, TWOTOWER_RECORDER_REDIS_URL="http://redis") as running:
        assert running.finish() == 2
    assert "TWOTOWER_RECORDER_REDIS_URL" in running.lines[0]
