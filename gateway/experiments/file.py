"""Follows experiments.yaml while the gateway runs."""

from __future__ import annotations

import logging
from pathlib import Path

from gateway import metrics
from gateway.file_stamp import FileStamp
from twotower.errors import SettingsError
from twotower.experiments import Experiments, read_experiments

log = logging.getLogger(__name__)


class ExperimentsFile:
    """The experiments in force: none without a file, and the last good ones while the file cannot be used."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._stamp = FileStamp(path)
        self.current = Experiments()

    def load(self) -> None:
        """Reads the file for the first time. Raises SettingsError if it exists and cannot be used."""
        self._stamp.look()
        if self._path is not None and self._stamp.exists:
            self.current = read_experiments(self._path)

    def poll(self) -> bool:
        """Reads the file again if it has changed. Returns True if other experiments are in force."""
        if self._path is None or not self._stamp.look():
            return False
        before = self.current
        try:
            self.current = read_experiments(self._path) if self._stamp.exists else Experiments()
        except SettingsError as error:
            metrics.EXPERIMENTS_REFUSED.inc()
            log.error("the last good experiments stay in force: %s", error)
            return False
        log.info("experiments in force", extra={"experiments": [one.name for one in self.current.experiments]})
        return self.current != before
