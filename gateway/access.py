"""The access log: one JSON line per request, written many at a time."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from datetime import UTC, datetime

import orjson

access = logging.getLogger("gateway.access")
# a crash loses the lines of this long at most; an end by a signal loses none
_SECONDS = 0.1


class AccessLog:
    """Lines as `telemetry.JsonFormatter` writes them, at a tenth of the cost; `flush` writes what is waiting."""

    def __init__(self) -> None:
        self._lines: list[bytes] = []

    def add(self, request_id: str, method: str, path: str, status: int, seconds: float) -> None:
        """Takes one line; it is written within a tenth of a second."""
        if not access.isEnabledFor(logging.INFO):
            return
        line = {
            "time": datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="milliseconds"),
            "level": "INFO",
            "service": "gateway",
            "logger": "gateway.access",
            "message": "request",
            "request_id": request_id,
            "method": method,
            "path": path,
            "status": status,
            "ms": round(seconds * 1000, 2),
        }
        if not self._lines:
            asyncio.get_running_loop().call_later(_SECONDS, self.flush)
        self._lines.append(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))

    def flush(self) -> None:
        lines, self._lines = self._lines, []
        if lines:
            sys.stderr.write(b"".join(lines).decode())
            sys.stderr.flush()
