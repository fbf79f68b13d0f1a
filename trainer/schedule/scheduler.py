"""Decides which job is due, runs it as a process of its own, and remembers how it ended.

A process of its own gives its memory back, and a training that the machine kills takes no scheduler with it.
"""

from __future__ import annotations

import logging
import signal
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from threading import Event
from typing import NamedTuple

from trainer.schedule import metrics
from trainer.schedule.changes import Changes, no_changes
from trainer.schedule.state import LastRun, ScheduleState
from trainer.schedule.triggers import AtTime, EveryChanges, EveryEvents, Trigger
from twotower.live.records import Position

log = logging.getLogger(__name__)

# exit code of a training whose version the gate kept back: the shop goes on with the version before
KEPT_BACK = 3
_MEANINGS = {0: "done", 1: "the machine failed", 2: "wrong input or settings", KEPT_BACK: "kept back by the gate"}
# how long a stopped training may take to end by itself
_STOP_SECONDS = 30.0


class Job(NamedTuple):
    """A command and the triggers that start it; the first job in a list goes first if several are due."""

    name: str
    command: Sequence[str]
    triggers: Sequence[Trigger]


class Health(NamedTuple):
    """What /readyz shows: whether no job's last run failed, and each job's state in words."""

    is_ready: bool
    jobs: dict[str, str]


@dataclass(frozen=True)
class Scheduler:
    """Runs jobs one at a time. `clock` gives the time, `count_events` the events that a training would read now, and
    `count_changes` the changed products that the served version and a refresh up to a position lack.

    A time that passed while no scheduler ran is made up for once. A job that has never run waits for its time, unless
    `at_once` names it.
    """

    jobs: Sequence[Job]
    state: ScheduleState
    count_events: Callable[[], int]
    zone: tzinfo
    at_once: frozenset[str] = frozenset()
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    poll_seconds: float = 10.0
    count_changes: Callable[[Position], Changes] = no_changes

    def run(self, stop: Event) -> None:
        """Runs what is due until `stop` is set; a job that runs then is interrupted and resumes at its next start."""
        since = self.clock()
        for name, last in self.state.runs.items():
            if last.code is not None:
                metrics.LAST_CODE.labels(name).set(last.code)
                metrics.LAST_END.labels(name).set(last.ended or last.started)
        while not stop.is_set():
            if (job := self.next_due(since)) is not None:
                self.start(job, stop)
            else:
                stop.wait(self.poll_seconds)

    def next_due(self, since: datetime) -> Job | None:
        """The first job that is due now. `since`: when this scheduler started."""
        now = self.clock()
        due = [job for job in self.jobs if self._is_due(job, now, since)]
        return due[0] if due else None

    def start(self, job: Job, stop: Event) -> None:
        """Runs a job to its end, or until `stop` is set."""
        started = self.clock()
        changes = self.count_changes(self.state.position(job.name))
        self.state.begin(job.name, started, self.count_events(), changes.position)
        log.info(f"{job.name}: started")
        with metrics.RUNNING.labels(job.name).track_inprogress():
            code = _run(job.command, stop)
        ended = self.clock()
        self.state.end(job.name, ended, code)
        if code is None:
            log.info(f"{job.name}: interrupted; it resumes when the scheduler starts again")
            return
        seconds = (ended - started).total_seconds()
        metrics.RUNS.labels(job.name, str(code)).inc()
        metrics.LAST_CODE.labels(job.name).set(code)
        metrics.LAST_END.labels(job.name).set(ended.timestamp())
        metrics.RUN_SECONDS.labels(job.name).set(seconds)
        level = logging.INFO if code == 0 else logging.WARNING if code == KEPT_BACK else logging.ERROR
        log.log(level, f"{job.name}: {_describe(code)}, exit code {code}, after {seconds:.0f} s")

    def health(self) -> Health:
        """Whether the last run of every job is as it should be. A version that the gate kept back is no failure."""
        words = {job.name: _words(self.state.runs.get(job.name)) for job in self.jobs}
        codes = {job.name: last.code for job in self.jobs if (last := self.state.runs.get(job.name))}
        return Health(all(code in (None, 0, KEPT_BACK) for code in codes.values()), words)

    def _is_due(self, job: Job, now: datetime, since: datetime) -> bool:
        last = self.state.runs.get(job.name)
        if last is None and job.name in self.at_once:
            return True
        # one that was interrupted goes on
        if last is not None and last.code is None:
            return True
        from_ = datetime.fromtimestamp(last.started, UTC) if last else since
        times = [one.next_after(from_.astimezone(self.zone)) for one in job.triggers if isinstance(one, AtTime)]
        if times:
            metrics.NEXT.labels(job.name).set(min(times).timestamp())
        if any(one.timestamp() <= now.timestamp() for one in times):
            return True
        limits = [one.products for one in job.triggers if isinstance(one, EveryChanges)]
        if limits and self.count_changes(self.state.position(job.name)).products >= min(limits):
            return True
        counts = [one.events for one in job.triggers if isinstance(one, EveryEvents)]
        return bool(counts) and self.count_events() - (last.events if last else 0) >= min(counts)


def _run(command: Sequence[str], stop: Event) -> int | None:
    """Runs a process and returns its exit code; None if `stop` was set and it was interrupted."""
    process = subprocess.Popen(command)
    while (code := process.poll()) is None:
        if stop.wait(0.2):
            # as Ctrl-C: it ends with a message, and its last checkpoint stays
            process.send_signal(signal.SIGINT)
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                log.warning(f"the process {process.pid} did not end within {_STOP_SECONDS:.0f} s and is killed")
                process.kill()
                process.wait()
            return None
    return code


def _describe(code: int) -> str:
    return _MEANINGS.get(code, f"ended by signal {-code}" if code < 0 else "failed")


def _words(last: LastRun | None) -> str:
    if last is None:
        return "has not run yet"
    if last.code is None:
        return "interrupted" if last.ended else "running"
    assert last.ended is not None
    at = datetime.fromtimestamp(last.ended, UTC).isoformat(timespec="seconds")
    return f"{_describe(last.code)}, exit code {last.code}, at {at}"
