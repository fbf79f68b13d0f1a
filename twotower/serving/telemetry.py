"""JSON log lines with the request id, and Prometheus metrics on a port of their own."""

from __future__ import annotations

import contextvars
import gc
import json
import logging
import os
import sys
import threading
from datetime import UTC, datetime

from prometheus_client import Counter, Gauge, Histogram, start_http_server

from twotower.serving import tracing

request_id: contextvars.ContextVar[str] = contextvars.ContextVar("request_id", default="")
_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
CALL_SECONDS = Histogram(
    "twotower_call_seconds", "Time of a call in this process", ["method", "status"], buckets=_BUCKETS
)


CALL_ROWS = Counter("twotower_call_rows", "Rows (items, buyers, queries) answered", ["method"])
MODEL_INFO = Gauge("twotower_model_info", "1 for the version that answers by default", ["version"])
MODEL_CREATED = Gauge("twotower_model_created_seconds", "When a version was made, seconds since 1970", ["version"])
MODEL_NEWEST_EVENT = Gauge(
    "twotower_model_newest_event_seconds", "Newest event that a version was trained on, seconds since 1970", ["version"]
)
MODEL_QUALITY = Gauge("twotower_model_quality", "Figures of a version's test", ["version", "metric"])
VERSION_LOADS = Counter("twotower_version_loads", "Versions loaded or refused", ["result"])
# a monitor sees the first refusal only if it has seen the zero before it
VERSION_LOADS.labels("refused")
WORK_WAITING = Gauge("twotower_work_waiting", "Calls that wait for a worker or have one", ["pool"])
WORK_WAIT_SECONDS = Histogram(
    "twotower_work_wait_seconds", "Time until a worker began with a call", ["pool"], buckets=_BUCKETS
)
# the collector looks at the youngest objects when this many more have been allocated than freed
_GC_ALLOCATIONS = 20_000
_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


def new_request_id() -> str:
    """A fresh request id: 32 hexadecimal digits."""
    return os.urandom(16).hex()


class JsonFormatter(logging.Formatter):
    """One JSON object per line: time, level, service, logger, message, request id, trace id, and extra fields."""

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
        if trace_id := tracing.trace_id():
            line["trace_id"] = trace_id
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
    # it logs every faster build of FAISS that this processor or package lacks
    logging.getLogger("faiss.loader").setLevel(logging.WARNING)


def freeze_loaded_objects() -> None:
    """Exempts all objects that exist now from garbage collection, and makes collections rare.

    A collection visits every object that may be part of a cycle. A catalogue's objects would make each one a pause of
    milliseconds, and requests leave almost no cycles behind.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GC_ALLOCATIONS, 20, 50)


class MetricsServer:
    """The Prometheus endpoint, in a thread of its own."""

    def __init__(self, host: str, port: int) -> None:
        """Port 0 asks for a free one. Raises OSError if the address cannot be used."""
        self._server, _ = start_http_server(port, addr=host)
        self.port = int(self._server.server_port)

    def close(self) -> None:
        """Closes the port within half a second, and does not wait for that."""
        threading.Thread(target=self._close, daemon=True).start()

    def _close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
