"""What `--events` names: files, and logs as `log:PATH`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import polars as pl

from trainer.data.tables.files import find_files
from trainer.errors import DataError
from twotower.event_log import forgotten_of, log_files

_PREFIX = "log:"


class EventSources(NamedTuple):
    """Files of events, and folders of logs."""

    files: list[Path]
    logs: list[Path]

    @property
    def first(self) -> Path:
        """One of them, for a message about all."""
        return (self.files or self.logs)[0]

    def contents(self) -> list[Path]:
        """Every file that decides which events there are; of a log, also its list of forgotten buyers."""
        logged = [
            path for log in self.logs for kind in ("interactions", "lists", "merges") for path in log_files(log, kind)
        ]
        lists = [forgotten_of(log) for log in self.logs]
        return [*self.files, *logged, *(path for path in lists if path.is_file())]


def count_logged(logs: Sequence[Path]) -> int:
    """How many interactions these logs hold, repeated ones included: no file is read, only its footer."""
    files = [path for log in logs for path in log_files(log, "interactions")]
    return int(pl.scan_parquet(files).select(pl.len()).collect().item()) if files else 0


def find_events(patterns: Sequence[str]) -> EventSources:
    """The files and logs that paths, globs and `log:PATH` name. Raises DataError if one names none."""
    logs = [Path(one.removeprefix(_PREFIX)) for one in patterns if one.startswith(_PREFIX)]
    for log in logs:
        if not log.is_dir():
            raise DataError(f"--events {_PREFIX}{log}: no such folder")
    others = [one for one in patterns if not one.startswith(_PREFIX)]
    return EventSources(find_files(others, "events") if others or not logs else [], list(dict.fromkeys(logs)))
