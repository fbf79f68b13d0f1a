"""What a scheduler that is started again must know: when each job last ran, on what, and how it ended."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from twotower.artifact.fsync import write_json
from twotower.live.records import Position


class LastRun(NamedTuple):
    """`started` and `ended` are times in seconds since 1970; `code` is None while it runs, or if it was stopped.

    `events` were in the log when it started; `epoch` and `change` name the last change of a product then.
    """

    started: float
    events: int
    ended: float | None = None
    code: int | None = None
    epoch: str = ""
    change: int = 0


class ScheduleState:
    """The last run of each job, in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.runs: dict[str, LastRun] = {}
        if path.is_file():
            content = json.loads(path.read_text(encoding="utf-8"))
            self.runs = {name: LastRun(**fields) for name, fields in content.items()}

    def begin(self, job: str, now: datetime, events: int, position: Position) -> None:
        self._keep(job, LastRun(now.timestamp(), events, epoch=position.epoch, change=position.sequence))

    def position(self, job: str) -> Position:
        """The last change of a product when the job last started."""
        last = self.runs.get(job)
        return Position() if last is None else Position(last.epoch, last.change)

    def end(self, job: str, now: datetime, code: int | None) -> None:
        self._keep(job, self.runs[job]._replace(ended=now.timestamp(), code=code))

    def _keep(self, job: str, run: LastRun) -> None:
        self.runs[job] = run
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_json(self._path, {name: one._asdict() for name, one in self.runs.items()})
