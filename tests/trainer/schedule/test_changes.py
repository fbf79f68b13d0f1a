"""A refresh that starts by itself after so many changes of products."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from threading import Event

import pytest

from tests.helpers.small_shop import write_shop
from tests.helpers.tiny_version import build_version
from trainer.__main__ import main
from trainer.schedule.changes import ChangeCounter, Changes
from trainer.schedule.scheduler import Job, Scheduler
from trainer.schedule.state import ScheduleState
from trainer.schedule.triggers import EveryChanges
from twotower.artifact.layout import Layout
from twotower.live.records import Position, State
from twotower.live.snapshot import snapshot_file, write_snapshot


def changed(count: int, first: int = 1) -> list[State]:
    return [
        State(f"n{one}", one, {"title": f"خلخال {one}", "price": 9.0}, is_whole=True)
        for one in range(first, first + count)
    ]


def test_what_the_served_version_or_the_last_refresh_has_does_not_count(tmp_path: Path) -> None:
    build_version(tmp_path / "artifacts", "a")
    counter = ChangeCounter(snapshot_file(tmp_path), Layout(tmp_path / "artifacts"))
    assert counter.count(Position("e1", 4)) == Changes(0, Position("e1", 4))
    write_snapshot(counter.path, Position("e1", 5), changed(5))
    assert counter.count(Position()) == Changes(5, Position("e1", 5))
    assert counter.count(Position("e1", 4)).products == 1
    # a Redis that counts anew
    assert counter.count(Position("e0", 4)).products == 5
    write_snapshot(counter.path, Position("e1", 6), changed(6))
    # times of files may be the same to the tick
    os.utime(counter.path, ns=(0, 0))
    assert counter.count(Position("e1", 4)).products == 2


@pytest.mark.parametrize("code", [0, 1])
def test_a_job_starts_after_so_many_changes_and_then_after_as_many_again(tmp_path: Path, code: int) -> None:
    build_version(tmp_path / "artifacts", "a")
    counter = ChangeCounter(snapshot_file(tmp_path), Layout(tmp_path / "artifacts"))
    job = Job("refresh", [sys.executable, "-c", f"raise SystemExit({code})"], (EveryChanges(3),))
    state, now = ScheduleState(tmp_path / "schedule.json"), datetime.now(UTC)
    made = Scheduler([job], state, lambda: 0, UTC, count_changes=counter.count)
    for count, is_due in ((2, False), (3, True), (5, False), (6, True)):
        write_snapshot(counter.path, Position("e1", count), changed(count))
        os.utime(counter.path, ns=(count, count))
        assert (made.next_due(now) is not None) == is_due, count
        if is_due:
            made.start(job, Event())
            # a scheduler that starts later knows it too
            made = Scheduler(
                [job], ScheduleState(tmp_path / "schedule.json"), lambda: 0, UTC, count_changes=counter.count
            )
            assert made.next_due(now) is None


def test_it_needs_the_log_of_the_products(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shop = write_shop(tmp_path)
    arguments = ["schedule", *shop.arguments, "--artifacts", str(tmp_path), "--refresh", "every 2 changes"]
    assert main(arguments) == 2
    message = "every N changes counts those of products in a log: give one as --products log:PATH"
    assert capsys.readouterr().err == f"error: {message}\n"
