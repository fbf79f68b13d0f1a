"""The log's folder: `<kind>/day=2026-01-31/<place of the first entry>.parquet`, each file written atomically."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from recorder.rows import Part, rows_of, table_of
from recorder.source import Entry
from twotower.artifact.fsync import sync, write_atomically
from twotower.errors import Unavailable
from twotower.event_log import KINDS
from twotower.forgotten import ForgottenBuyers


class LogFolder:
    """The files of the log. One process at a time may hold it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keeps other recorders away, until the end of the block or of the process. Raises Unavailable, OSError."""
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self.root / ".lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Unavailable(f"another recorder writes {self.root}") from None
            self._remove_unfinished()
            yield

    def write(self, entries: list[Entry], forgotten: ForgottenBuyers) -> int:
        """Writes the rows of some entries, forced to disk, and returns how many. Raises OSError.

        The same entries give the same names: written again after a crash, they replace their files.
        """
        if not entries:
            return 0
        count = 0
        for part, rows in rows_of(entries, forgotten).items():
            write_table(self.folder(part) / f"{entries[0].place}.parquet", table_of(part.kind, rows))
            count += len(rows)
        return count

    def folder(self, part: Part) -> Path:
        return self.root / part.kind / f"day={part.day}"

    def days(self, kind: str) -> list[Path]:
        """The folders of one kind, oldest first."""
        return sorted(self.root.glob(f"{kind}/day=*"))

    def _remove_unfinished(self) -> None:
        for kind in KINDS:
            for path in self.root.glob(f"{kind}/day=*/.new-*"):
                path.unlink()


def write_table(path: Path, table: pa.Table) -> None:
    """Writes a file that is there whole or not at all, readable by its owner alone. Raises OSError."""
    if not path.parent.is_dir():
        path.parent.mkdir(mode=0o700, parents=True)
        for folder in (path.parent.parent, path.parent.parent.parent):
            sync(folder)
    with write_atomically(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")
        temporary.chmod(0o600)
