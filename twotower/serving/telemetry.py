"""JSON log lines with the request id, and Prometheus metrics on a port of their own."""

from __future__ import annotations

import contextvars
import gc
import json
import logging
import os
import sys
from datetime import UTC, datetime

from prometheus_client import Counter, Gauge, Histogram, start_http_server

request_id: contextvars.ContextVar[str] = contextvars.ContextVar("request_id", default="")


_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)


CALL_SECONDS = Histogram(
    "twotower_call_seconds", "Time of a call in this process", ["method", "status"], buckets=_BUCKETS
)


CALL_ROWS = Counter("twotower_call_rows", "Rows (items, buyers, queries) answered", ["method"])


MODEL_INFO = Gauge("twotower_model_info", "1 for the version that answers by default", ["version"])


VERSION_LOADS = Counter("twotower_version_loads", "Versions loaded or refused", ["result"])


# objects made, less those freed, between two rounds of the garbage collector over the youngest
_GC_ALLOCATIONS = 20_000


_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


def new_request_id() -> str:
    """A fresh request id: 32 hexadecimal digits."""
    return os.urandom(16).hex()


class JsonFormatter(logging.Formatter):
    """One JSON object per line: time, level, service, logger, message, request id, and the record's extra fields."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self.service = service

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "service": self.service,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request_id.get():
            line["request_id"] = request_id.get()
        line |= {key: value for key, value in record.__dict__.items() if key not in _STANDARD}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def configure_logging(service: str, level: str = "INFO") -> None:
    """Sends every log record of this process to standard error as JSON lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(service))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # it reports each faster build of the library that this processor or package lacks
    logging.getLogger("faiss.loader").setLevel(logging.WARNING)


def settle_memory() -> None:
    """Takes what a process has loaded so far out of the garbage collector's rounds, and makes those rare.

    A round walks every object that may be part of a cycle; the catalogue's would make it one pause of milliseconds
    after another, and a request leaves next to none.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GC_ALLOCATIONS, 20, 50)


def serve_metrics(host: str, port: int) -> int:
    """Starts the Prometheus endpoint in a thread of its own and returns its port (a free one for 0)."""
    server, _ = start_http_server(port, addr=host)
    return int(server.server_port)
