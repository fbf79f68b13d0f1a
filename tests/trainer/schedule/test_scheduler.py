"""Jobs run when they are due, one at a time, as processes; how they end is seen and survives a restart."""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event, Thread

import pytest

from trainer.schedule import metrics
from trainer.schedule.scheduler import Health, Job, Scheduler
from trainer.schedule.state import LastRun, ScheduleState
from trainer.schedule.triggers import AtTime, EveryEvents
from trainer.schedule.web import serve
from twotower.live.records import Position

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
NIGHT = (AtTime(3, 0),)


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now


def exits(code: int, marks: Path) -> Sequence[str]:
    """A command that adds a line to a file and ends with this code."""
    return [sys.executable, "-c", f"open({str(marks)!r}, 'a').write('ran\\n'); raise SystemExit({code})"]


def scheduler(
    folder: Path, clock: Clock, *jobs: Job, events: Sequence[int] = (0,), at_once: frozenset[str] = frozenset()
) -> Scheduler:
    counts = iter(events)
    last = [0]

    def count() -> int:
        last[0] = next(counts, last[0])
        return last[0]

    return Scheduler(jobs, ScheduleState(folder / "schedule.json"), count, UTC, at_once, clock, 0.01)


def test_a_job_runs_at_its_time_and_once(tmp_path: Path) -> None:
    clock, marks = Clock(), tmp_path / "marks"
    made = scheduler(tmp_path, clock, Job("train", exits(0, marks), NIGHT))
    assert made.next_due(NOON) is None
    clock.now = NOON + timedelta(hours=15)
    due = made.next_due(NOON)
    assert due is not None and due.name == "train"
    made.start(due, Event())
    assert marks.read_text() == "ran\n"
    assert made.next_due(NOON) is None
    clock.now += timedelta(days=1)
    assert made.next_due(NOON) is due


def test_a_time_that_passed_while_nobody_ran_is_made_up_for_once(tmp_path: Path) -> None:
    clock, marks = Clock(), tmp_path / "marks"
    job = Job("train", exits(0, marks), NIGHT)
    first = scheduler(tmp_path, clock, job)
    first.start(job, Event())
    clock.now = NOON + timedelta(days=4)
    again = scheduler(tmp_path, clock, job)
    assert again.next_due(clock.now) is job
    again.start(job, Event())
    assert again.next_due(clock.now) is None


def test_a_job_that_never_ran_waits_unless_it_must_not(tmp_path: Path) -> None:
    clock, job = Clock(), Job("train", exits(0, tmp_path / "marks"), NIGHT)
    assert scheduler(tmp_path, clock, job).next_due(NOON) is None
    assert scheduler(tmp_path, clock, job, at_once=frozenset({"train"})).next_due(NOON) is job


def test_a_job_runs_after_so_many_new_events(tmp_path: Path) -> None:
    clock = Clock()
    job = Job("train", exits(0, tmp_path / "marks"), (EveryEvents(100),))
    # at each look: too few, enough; 130 are counted as the job starts
    made = scheduler(tmp_path, clock, job, events=(99, 100, 130, 229, 230))
    assert made.next_due(NOON) is None
    assert made.next_due(NOON) is job
    made.start(job, Event())
    assert made.next_due(NOON) is None
    assert made.next_due(NOON) is job


def test_the_first_of_several_due_jobs_goes_first(tmp_path: Path) -> None:
    clock, marks = Clock(), tmp_path / "marks"
    refresh, train = Job("refresh", exits(0, marks), NIGHT), Job("train", exits(0, marks), NIGHT)
    made = scheduler(tmp_path, clock, refresh, train)
    clock.now = NOON + timedelta(days=1)
    assert made.next_due(NOON) is refresh
    made.start(refresh, Event())
    assert made.next_due(NOON) is train


@pytest.mark.parametrize(
    ("code", "is_ready", "words"),
    [(0, True, "done"), (3, True, "kept back by the gate"), (1, False, "the machine failed"), (9, False, "failed")],
)
def test_how_a_run_ended_is_seen(
    code: int, is_ready: bool, words: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock, name = Clock(), f"job{code}"
    made = scheduler(tmp_path, clock, Job(name, exits(code, tmp_path / "marks"), NIGHT))
    assert made.health() == Health(True, {name: "has not run yet"})
    with caplog.at_level("INFO", "trainer"):
        made.start(made.jobs[0], Event())
    assert f"{name}: {words}, exit code {code}, after 0 s" in caplog.messages
    shown = Health(is_ready, {name: f"{words}, exit code {code}, at 2026-03-01T12:00:00+00:00"})
    assert made.health() == shown
    assert metrics.LAST_CODE.labels(name)._value.get() == code
    assert metrics.RUNS.labels(name, str(code))._value.get() == 1
    # a scheduler that starts again still says so
    assert scheduler(tmp_path, clock, *made.jobs).health() == shown


def test_a_stop_interrupts_a_run_which_goes_on_at_the_next_start(tmp_path: Path) -> None:
    clock, marks, stop = Clock(), tmp_path / "marks", Event()
    script = (
        "import sys, time\n"
        f"marks = {str(marks)!r}\n"
        "try:\n    open(marks, 'w').write('begun'); time.sleep(60)\n"
        "except KeyboardInterrupt:\n    open(marks, 'w').write('ended well')\n"
    )
    job = Job("train", [sys.executable, "-c", script], NIGHT)
    made = scheduler(tmp_path, clock, job, at_once=frozenset({"train"}))
    thread = Thread(target=made.run, args=(stop,))
    thread.start()
    while not marks.is_file() or marks.read_text() != "begun":
        assert thread.is_alive()
    stop.set()
    thread.join(30)
    assert not thread.is_alive()
    assert marks.read_text() == "ended well"
    assert made.health() == Health(True, {"train": "interrupted"})
    again = scheduler(tmp_path, clock, *made.jobs)
    assert again.state.runs["train"].code is None
    assert again.next_due(clock.now) is made.jobs[0]


def test_the_port_says_what_failed(tmp_path: Path) -> None:
    clock = Clock()
    made = scheduler(tmp_path, clock, Job("train", exits(1, tmp_path / "marks"), NIGHT))
    port = serve("127.0.0.1", 0, made.health)

    def get(path: str) -> tuple[int, bytes]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}") as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    assert get("/healthz") == (200, b'{"status": "alive"}')
    assert get("/readyz") == (200, b'{"status": "ready", "jobs": {"train": "has not run yet"}}')
    made.start(made.jobs[0], Event())
    status, body = get("/readyz")
    assert status == 503
    assert json.loads(body)["jobs"]["train"].startswith("the machine failed, exit code 1")
    assert b'twotower_schedule_last_exit_code{job="train"} 1.0' in get("/metrics")[1]
    assert get("/else")[0] == 404


def test_the_state_is_a_file(tmp_path: Path) -> None:
    state = ScheduleState(tmp_path / "schedule.json")
    state.begin("train", NOON, 7, Position("e1", 3))
    state.end("train", NOON + timedelta(seconds=5), 0)
    at = NOON.timestamp()
    assert ScheduleState(tmp_path / "schedule.json").runs == {"train": LastRun(at, 7, at + 5, 0, "e1", 3)}


def test_a_scheduler_that_starts_again_shows_how_and_when_the_last_runs_ended(tmp_path: Path) -> None:
    state = ScheduleState(tmp_path / "schedule.json")
    for name, code in (("shown", 2), ("interrupted", None)):
        state.begin(name, NOON, 0, Position("", 0))
        state.end(name, NOON + timedelta(minutes=5), code)
    stop = Event()
    stop.set()
    scheduler(tmp_path, Clock()).run(stop)
    assert metrics.LAST_CODE.labels("shown")._value.get() == 2
    assert metrics.LAST_END.labels("shown")._value.get() == NOON.timestamp() + 300
    assert metrics.LAST_END.labels("interrupted")._value.get() == 0
