"""The output of a command: log lines with the elapsed time, and errors."""

from __future__ import annotations

import logging
import sys
import time
from typing import TextIO


class _StdoutHandler(logging.StreamHandler[TextIO]):
    """Writes to the current `sys.stdout`, which a caller may have redirected."""

    @property
    def stream(self) -> TextIO:
        return sys.stdout

    @stream.setter
    def stream(self, stream: TextIO) -> None:
        pass


class _Elapsed(logging.Formatter):
    """Formats a record as `[  12.3 s] message`, a warning as `[  12.3 s] warning: message`."""

    def __init__(self) -> None:
        super().__init__()
        self._started = time.monotonic()

    def format(self, record: logging.LogRecord) -> str:
        level = "warning: " if record.levelno == logging.WARNING else ""
        return f"[{time.monotonic() - self._started:6.1f} s] {level}{record.getMessage()}"


def log_to_stdout() -> None:
    """Sends the trainer's log to standard output, with the time since this call."""
    handler = _StdoutHandler()
    handler.setFormatter(_Elapsed())
    logger = logging.getLogger("trainer")
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)


def log_nothing() -> None:
    """Keeps the trainer's log from standard output, which a caller reads."""
    logging.getLogger("trainer").handlers = [logging.NullHandler()]


def fail(message: str, code: int) -> int:
    """Prints an error to standard error and returns the exit code."""
    print(f"error: {message}", file=sys.stderr)
    return code
