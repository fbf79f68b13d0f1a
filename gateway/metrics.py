"""What the gateway counts, beside what `twotower.serving.telemetry` has for every process."""

from __future__ import annotations

import functools
import os

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)

REQUEST_SECONDS = Histogram("twotower_http_seconds", "Time of a request", ["route", "status"], buckets=_SECONDS)
ANSWERS = Counter("twotower_answers", "Lists of products answered", ["route", "source"])
BATCH_CALLS = Histogram("twotower_batch_calls", "Calls that travelled in one batch", ["batcher"], buckets=_ROWS)
REFUSED_CALLS = Counter("twotower_batch_refused", "Calls refused because too many were waiting", ["batcher"])
VERSION_RERUNS = Counter("twotower_version_reruns", "Requests run again on a version that all services hold")
REDIS_UP = Gauge(
    "twotower_redis_up", "0 from when Redis does not answer until it does again", multiprocess_mode="livemin"
)
REDIS_FAILURES = Counter("twotower_redis_failures", "Commands that Redis did not answer or refused")
UNREADABLE_VALUES = Counter("twotower_history_unreadable", "Values in Redis that are no interaction, skipped")


# `labels` of the library looks a counter up under a lock, which costs more than counting
answers = functools.cache(ANSWERS.labels)


def exposition() -> bytes:
    """All metrics as Prometheus reads them; of all workers together where there are several (see workers.py)."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return generate_latest(REGISTRY)
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)
