"""Follows experiments.yaml while the gateway runs."""

from __future__ import annotations

import logging
from pathlib import Path

from gateway import metrics
from twotower.errors import SettingsError
from twotower.experiments import Experiments, read_experiments

log = logging.getLogger(__name__)


class ExperimentsFile:
    """The experiments in force: none without a file, and the last good ones while the file cannot be used."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._stamp: tuple[int, ...] = ()
        self.current = Experiments()

    def load(self) -> None:
        """Reads the file for the first time. Raises SettingsError if it exists and cannot be used."""
        self._stamp = self._look()
        if self._path is not None and self._stamp:
            self.current = read_experiments(self._path)

    def poll(self) -> bool:
        """Reads the file again if it has changed. Returns True if other experiments are in force."""
        stamp = self._look()
        if self._path is None or stamp == self._stamp:
            return False
        self._stamp, before = stamp, self.current
        try:
            self.current = read_experiments(self._path) if stamp else Experiments()
        except SettingsError as error:
            metrics.EXPERIMENTS_REFUSED.inc()
            log.error("the last good experiments stay in force: %s", error)
            return False
        log.info("experiments in force", extra={"experiments": [one.name for one in self.current.experiments]})
        return self.current != before

    def _look(self) -> tuple[int, ...]:
        try:
            found = self._path.stat() if self._path else None
        except OSError:
            return ()
        return (found.st_mtime_ns, found.st_size, found.st_ino) if found else ()
