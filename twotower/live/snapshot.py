"""The live catalogue as a file beside the event log: the recorder writes it, trainings and refreshes read it.

Its first line says up to which change it goes, each further line is the state of a changed product.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import orjson

from twotower.artifact.fsync import write_atomically
from twotower.errors import CorruptArtifact
from twotower.live.records import Position, State

_NAME = "catalogue.jsonl"


class Snapshot(NamedTuple):
    """The states of all changed products after the change `position`; some may be of later ones."""

    position: Position
    states: list[State]


def snapshot_file(log: Path) -> Path:
    """Where the file lies in the folder of an event log."""
    return log / _NAME


def write_snapshot(path: Path, position: Position, states: Iterable[State]) -> None:
    """Replaces the file, readable by its owner alone. Raises OSError."""
    with write_atomically(path) as temporary:
        with temporary.open("wb") as file:
            file.write(orjson.dumps(tuple(position)) + b"\n")
            for state in states:
                file.write(orjson.dumps(tuple(state)) + b"\n")
        temporary.chmod(0o600)


def read_snapshot(path: Path) -> Snapshot:
    """Raises CorruptArtifact if the file cannot be read."""
    try:
        with path.open("rb") as file:
            position = Position(*orjson.loads(file.readline()))
            return Snapshot(position, [State(*orjson.loads(line)) for line in file])
    except (OSError, ValueError, TypeError) as error:
        raise CorruptArtifact(f"{path} is no file of changed products: {error}") from None
