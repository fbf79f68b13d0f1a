"""The recorder's work: takes entries, writes their files, confirms them; and compacts now and then."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event

from recorder import metrics
from recorder.catalogue import CatalogueCopy
from recorder.compaction import Compaction
from recorder.files import LogFolder
from recorder.settings import RecorderSettings
from recorder.source import Entry, Source
from recorder.trending import TrendingCount
from twotower.errors import CorruptArtifact, Unavailable
from twotower.forgotten import ForgottenBuyers

log = logging.getLogger(__name__)

# entries in one reading, and how long one waits: a signal is seen after it
_COUNT = 500
_WAIT_SECONDS = 0.5


class Recorder:
    """Holds the entries that are not on disk yet."""

    def __init__(
        self,
        source: Source,
        folder: LogFolder,
        settings: RecorderSettings,
        clock: Callable[[], float] = time.monotonic,
        catalogue: CatalogueCopy | None = None,
        trending: TrendingCount | None = None,
    ) -> None:
        self._source = source
        self._folder = folder
        self._settings = settings
        self._clock = clock
        self._compaction = Compaction(folder)
        self._forgotten = ForgottenBuyers(settings.layout.forgotten)
        self._batch: list[Entry] = []
        self._bytes = 0
        self._since = 0.0
        self._compact_at = clock()
        self._catalogue, self._copy_at = catalogue, clock()
        self._trending, self._count_at = trending, clock()
        self._is_new = True
        self._problem = ""

    def run(self, stop: Event) -> None:
        """Works until `stop` is set, then writes what it holds. No fault of Redis or the disk ends it.

        While the disk is full it reads nothing: the stream grows, until the gateways say that it is full.
        """
        while not stop.is_set():
            try:
                self.step()
                self._report("")
            except Unavailable as error:
                self._report(f"nothing is read: {error}")
                stop.wait(self._settings.retry_seconds)
            except (OSError, CorruptArtifact) as error:
                self._report(f"nothing is written: {error}")
                stop.wait(self._settings.retry_seconds)
        try:
            self._flush()
        except (Unavailable, OSError, CorruptArtifact) as error:
            log.warning("%s entries stay in the stream: %s", len(self._batch), error)
        try:
            self._source.close()
        except Unavailable as error:
            log.warning("the log was not left: %s", error)

    def step(self) -> None:
        """Takes some entries, and writes what is due. Raises Unavailable, OSError or CorruptArtifact."""
        if self._is_due():
            self._flush()
        if self._is_new:
            # a batch of its own: the files that the last process may have written of it have the same names
            if not self._batch:
                self._hold(self._source.unconfirmed())
            self._flush()
            self._is_new = False
        if self._clock() >= self._compact_at:
            self._forgotten.refresh()
            self._compaction.run(self._forgotten, time.time())
            self._compact_at = self._clock() + self._settings.compact_seconds
        if self._catalogue is not None and self._clock() >= self._copy_at:
            self._catalogue.refresh()
            self._copy_at = self._clock() + self._settings.catalogue_seconds
        if self._trending is not None and self._clock() >= self._count_at:
            self._trending.refresh(int(time.time() * 1000))
            self._count_at = self._clock() + self._settings.trending_seconds
        self._hold(self._source.take(_COUNT, _WAIT_SECONDS))
        metrics.WAITING.set(self._source.waiting())

    def _hold(self, entries: list[Entry]) -> None:
        if entries and not self._batch:
            self._since = self._clock()
        self._batch += entries
        self._bytes += sum(len(value) for one in entries for value in one.fields.values())

    def _is_due(self) -> bool:
        is_old = bool(self._batch) and self._clock() - self._since >= self._settings.flush_seconds
        return is_old or self._bytes >= self._settings.flush_mb << 20

    def _flush(self) -> None:
        if not self._batch:
            return
        self._forgotten.refresh()
        rows = self._folder.write(self._batch, self._forgotten)
        # from here on a crash makes the same files again
        self._source.confirm(self._batch)
        metrics.ROWS.inc(rows)
        metrics.WRITTEN_AT.set_to_current_time()
        log.info("wrote %s rows of %s entries", rows, len(self._batch))
        self._batch, self._bytes = [], 0

    def _report(self, problem: str) -> None:
        metrics.UP.set(not problem)
        if problem:
            metrics.FAILURES.inc()
        if problem and not self._problem:
            log.error(problem)
        elif self._problem and not problem:
            log.info("the log is written again")
        self._problem = problem
        if self._settings.ready_file is not None:
            _show(self._settings.ready_file, is_ready=not problem)


def _show(ready_file: Path, *, is_ready: bool) -> None:
    if is_ready:
        ready_file.touch()
    else:
        ready_file.unlink(missing_ok=True)
