"""Makes one file of each past day, and removes the rows of forgotten buyers from all files."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from recorder import metrics
from recorder.files import LogFolder, write_table
from twotower.event_log import log_files, owner_of
from twotower.forgotten import ForgottenBuyers

log = logging.getLogger(__name__)

# rows of one file: as many as are held in memory
_MAX_ROWS = 1_000_000


class Compaction:
    """Rewrites the files of one log, again and again. It remembers which files it has looked at."""

    def __init__(self, folder: LogFolder) -> None:
        self._folder = folder
        # files that hold nothing to remove, as they were
        self._clean: set[tuple[object, ...]] = set()

    def run(self, forgotten: ForgottenBuyers, now: float) -> int:
        """Makes few files of each past day, and removes the rows of forgotten buyers from all. Returns how many.

        `now` is seconds since 1970. A crash leaves rows in two files, which a reader counts once. An unreadable file is
        logged and left alone. Raises OSError.
        """
        today = f"day={datetime.fromtimestamp(now, UTC).date().isoformat()}"
        dropped = _Dropped(self._folder, forgotten)
        removed = 0
        # merges last: until then they say which guests were forgotten buyers
        for kind in ("interactions", "lists", "shadows", "merges"):
            for day, files in itertools.groupby(log_files(self._folder.root, kind), key=lambda path: path.parent.name):
                for group in _groups(files) if day < today else ([path] for path in files):
                    removed += self._rewrite(group, dropped)
        if removed:
            log.info("removed %s rows of forgotten buyers", removed)
            metrics.REMOVED_ROWS.inc(removed)
        return removed

    def _rewrite(self, files: list[Path], dropped: _Dropped) -> int:
        """Makes the first of these files hold what stays of all. Returns how many rows are gone."""
        if len(files) == 1:
            state = (files[0], files[0].stat().st_mtime_ns, *dropped.state)
            if state in self._clean or not dropped.goes_any(files[0]):
                self._clean.add(state)
                return 0
        try:
            tables = [pq.read_table(path) for path in files]
        except pa.ArrowException as error:
            log.error("%s or a file beside it cannot be read: %s", files[0], error)
            return 0
        kept = pa.concat_tables(dropped.keep(table) for table in tables)
        if len(kept):
            write_table(files[0], kept)
        for path in files[1:] if len(kept) else files:
            path.unlink()
        return sum(len(table) for table in tables) - len(kept)


class _Dropped:
    """Which rows go: those of forgotten buyers, and of the guests that they were."""

    def __init__(self, folder: LogFolder, forgotten: ForgottenBuyers) -> None:
        self._forgotten = forgotten
        self._sessions: set[str] = set()
        if forgotten:
            for path in log_files(folder.root, "merges"):
                theirs = (session for buyer, session in _owners(path) if buyer is not None and buyer in forgotten)
                self._sessions.update(session for session in theirs if session is not None)

    @property
    def state(self) -> tuple[int, int]:
        """Changes whenever more rows go than before."""
        return len(self._forgotten), len(self._sessions)

    def goes_any(self, path: Path) -> bool:
        return bool(self._forgotten) and any(self._goes(*pair) for pair in _owners(path))

    def keep(self, table: pa.Table) -> pa.Table:
        """The rows that stay."""
        if not self._forgotten:
            return table
        pairs = _pairs(table)
        goes = {pair for pair in set(pairs) if self._goes(*pair)}
        return table.filter(pa.array([pair not in goes for pair in pairs])) if goes else table

    def _goes(self, buyer_id: str | None, session_id: str | None) -> bool:
        if buyer_id is None and session_id is None:
            return False  # a list that was served to nobody known
        is_theirs = buyer_id is None and session_id in self._sessions
        return is_theirs or owner_of(buyer_id, session_id) in self._forgotten


def _owners(path: Path) -> set[tuple[str | None, str | None]]:
    """Buyers and sessions of a file; none if it cannot be read, which is logged."""
    try:
        return set(_pairs(pq.read_table(path, columns=["buyer_id", "session_id"])))
    except pa.ArrowException as error:
        log.error("%s cannot be read: %s", path, error)
        return set()


def _pairs(table: pa.Table) -> list[tuple[str | None, str | None]]:
    buyers, sessions = (table.column(name).to_pylist() for name in ("buyer_id", "session_id"))
    return list(zip(buyers, sessions, strict=True))


def _groups(files: Iterable[Path]) -> Iterator[list[Path]]:
    """Neighbouring files, as many as one file may hold."""
    group: list[Path] = []
    rows = 0
    for path in files:
        count = _count_rows(path)
        if group and rows + count > _MAX_ROWS:
            yield group
            group, rows = [], 0
        group.append(path)
        rows += count
    if group:
        yield group


def _count_rows(path: Path) -> int:
    try:
        return int(pq.read_metadata(path).num_rows)
    except pa.ArrowException:
        return _MAX_ROWS  # stays alone, so that the others are rewritten without it
