"""What stops a run, told to the user in one line; the commands turn each into an exit code."""

from __future__ import annotations

from twotower.errors import TwoTowerError


class DataError(TwoTowerError):
    """The input files cannot be used: which file, which place, and what to do."""


class EncoderError(TwoTowerError):
    """The text encoder cannot be loaded or exported."""


class ParityError(TwoTowerError):
    """An exported graph does not compute what the trained model does."""


class ReportError(Exception):
    """report.html cannot be made from what a run found. Nothing that a user did: it ends with exit code 1."""
