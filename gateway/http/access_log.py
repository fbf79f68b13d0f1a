"""The access log: one JSON line per request, made and written many at a time."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from datetime import UTC, datetime
from typing import NamedTuple

import orjson

access = logging.getLogger("gateway.access")


# a crash loses the lines of this long at most; an end by a signal loses none
_SECONDS = 0.1


class _Entry(NamedTuple):
    """One request that has ended, at `time` (seconds since 1970)."""

    time: float
    request_id: str
    method: str
    path: str
    status: int
    seconds: float


class AccessLog:
    """Lines as `telemetry.JsonFormatter` writes them, at a tenth of the cost; `flush` writes what is waiting."""

    def __init__(self) -> None:
        self._entries: list[_Entry] = []

    def add(self, request_id: str, method: str, path: str, status: int, seconds: float) -> None:
        """Takes one line; it is written within a tenth of a second."""
        if not access.isEnabledFor(logging.INFO):
            return
        if not self._entries:
            asyncio.get_running_loop().call_later(_SECONDS, self.flush)
        self._entries.append(_Entry(time.time(), request_id, method, path, status, seconds))

    def flush(self) -> None:
        entries, self._entries = self._entries, []
        if entries:
            sys.stderr.write(b"".join(map(_line, entries)).decode())
            sys.stderr.flush()


def _line(entry: _Entry) -> bytes:
    line = {
        "time": datetime.fromtimestamp(entry.time, UTC).isoformat(timespec="milliseconds"),
        "level": "INFO",
        "service": "gateway",
        "logger": "gateway.access",
        "message": "request",
        "request_id": entry.request_id,
        "method": entry.method,
        "path": entry.path,
        "status": entry.status,
        "ms": round(entry.seconds * 1000, 2),
    }
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
