"""Errors by meaning. `serving.status` translates them to gRPC statuses, the gateway to HTTP problems."""

from __future__ import annotations

from collections.abc import Sequence


class TwoTowerError(Exception):
    """Base of all errors whose message may go to a caller."""

    def detail(self) -> dict[str, object]:
        """The machine-readable part of the error, JSON-safe."""
        return {}


class InvalidInput(TwoTowerError):
    """The caller sent a value that cannot be used; `field`, `value` and `problem` say which and why."""

    def __init__(self, field: str, value: object, problem: str) -> None:
        self.field, self.value, self.problem = field, _short(value), problem
        super().__init__(f"{field} {self.value}: {problem}")

    def detail(self) -> dict[str, object]:
        return {"field": self.field, "value": self.value, "problem": self.problem}


class NotFound(TwoTowerError):
    """What the caller named does not exist."""

    def __init__(self, message: str, field: str = "") -> None:
        self.field = field
        super().__init__(message)

    def detail(self) -> dict[str, object]:
        return {"field": self.field} if self.field else {}


class Conflict(TwoTowerError):
    """The request contradicts what was accepted before."""


class VersionNotHeld(TwoTowerError):
    """A request names a model version that this replica does not hold; `held` names those it holds, newest first.

    `where`: who does not hold it, in words.
    """

    def __init__(self, wanted: str, held: Sequence[str], where: str = "here") -> None:
        self.wanted, self.held = wanted[:80], list(held)
        super().__init__(f"model version {_short(wanted)} is not held {where}; held: {', '.join(self.held) or 'none'}")

    def detail(self) -> dict[str, object]:
        return {"wanted": self.wanted, "held": self.held}


class Unavailable(TwoTowerError):
    """A service or store cannot answer now; the same request may succeed later."""


class NotConfigured(TwoTowerError):
    """The process lacks a setting that the request needs; the message names it."""


class Overloaded(TwoTowerError):
    """Too much work is waiting already; try again later."""


class DeadlineExceeded(TwoTowerError):
    """The time given for the request ran out."""


class CorruptArtifact(TwoTowerError):
    """A file of an artifact is missing, does not match its manifest, or cannot be read."""


class Overtaken(TwoTowerError):
    """Another process has published in the meantime: nothing was changed, and the same command may run again."""


class SettingsError(TwoTowerError):
    """A setting is unknown, of the wrong type or impossible."""


def _short(value: object, limit: int = 80) -> str:
    """`value` as one printable line of at most `limit` characters, control characters escaped."""
    text = repr(value)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
