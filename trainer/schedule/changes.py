"""Counts the products that were changed through the live catalogue since the served version, or since a refresh."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from twotower.artifact.layout import Layout
from twotower.artifact.pointer import read_pointer
from twotower.artifact.version import open_version
from twotower.live.records import Position
from twotower.live.snapshot import Snapshot, read_snapshot


class Changes(NamedTuple):
    """How many products have changed, and the last change in the log."""

    products: int = 0
    position: Position = Position()


def no_changes(since: Position) -> Changes:
    """For a shop without a live catalogue."""
    return Changes(0, since)


@dataclass
class ChangeCounter:
    """Reads the recorder's file of changed products again when it has been replaced."""

    path: Path
    layout: Layout
    _read: tuple[int, Snapshot] | None = field(default=None, init=False)

    def count(self, since: Position) -> Changes:
        """The changed products that the served version lacks, less those up to `since`, which a refresh had.

        Raises CorruptArtifact if the file or the served version cannot be read.
        """
        if not self.path.is_file():
            return Changes(0, since)
        snapshot, served = self._snapshot(), self._served()
        epoch = snapshot.position.epoch
        new = [one for one in snapshot.states if not (served.includes(one, epoch) or since.includes(one, epoch))]
        return Changes(len(new), snapshot.position)

    def _snapshot(self) -> Snapshot:
        written = self.path.stat().st_mtime_ns
        if self._read is None or self._read[0] != written:
            self._read = (written, read_snapshot(self.path))
        return self._read[1]

    def _served(self) -> Position:
        pointer = read_pointer(self.layout.current)
        return Position() if pointer is None else Position.of(open_version(self.layout, pointer.version).manifest)
