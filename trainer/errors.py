"""Errors that stop a command: one line for the user and an exit code."""

from __future__ import annotations

from collections.abc import Sequence

from twotower.errors import TwoTowerError


class DataError(TwoTowerError):
    """The input files cannot be used; the message names file and line and says what to do."""


class MissingColumns(DataError):
    """A file lacks columns: `missing` are our names of them, `header` the names that it has."""

    def __init__(self, message: str, missing: Sequence[str], header: Sequence[str]) -> None:
        self.missing, self.header = missing, header
        super().__init__(message)


class Diverged(DataError):
    """A training's loss is no finite number any more."""


class NoWarmStart(TwoTowerError):
    """A training cannot begin from the served version, or not be judged; the message says why."""


class NothingNew(TwoTowerError):
    """There is no event that the served version does not know."""


class EncoderError(TwoTowerError):
    """The text encoder cannot be loaded or exported."""


class ParityError(TwoTowerError):
    """An exported graph differs from the trained model."""


class ReportError(Exception):
    """report.html cannot be rendered. The fault is not the user's: the exit code is 1."""
