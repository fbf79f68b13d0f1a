"""The gateway's own metrics; `twotower.serving.telemetry` has those of every process."""

from __future__ import annotations

import functools
import os

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)

REQUEST_SECONDS = Histogram("twotower_http_seconds", "Duration of a request", ["route", "status"], buckets=_SECONDS)
ANSWERS = Counter("twotower_answers", "Lists of products returned", ["route", "source"])
BATCH_CALLS = Histogram("twotower_batch_calls", "Calls per batch", ["batcher"], buckets=_ROWS)
BATCH_SECONDS = Histogram("twotower_batch_seconds", "Time until a batch is answered", ["batcher"], buckets=_SECONDS)
BATCH_WAIT_SECONDS = Histogram(
    "twotower_batch_wait_seconds", "Time that the oldest call of a batch waited for it", ["batcher"], buckets=_SECONDS
)
BATCH_WAITING = Gauge(
    "twotower_batch_waiting", "Calls that are in no batch yet", ["batcher"], multiprocess_mode="livesum"
)
REFUSED_CALLS = Counter("twotower_batch_refused", "Calls refused because too many were queued", ["batcher"])
REFUSED_REQUESTS = Counter("twotower_requests_refused", "Requests refused because there was no room", ["kind"])
HEDGES = Counter("twotower_hedges", "Calls sent once more because a replica did not answer soon", ["service"])
SHARDS_MISSING = Counter("twotower_shards_missing", "Calls that no replica of a shard answered", ["shard"])
VERSION_RERUNS = Counter("twotower_version_reruns", "Requests run again on a model version that all services hold")
REDIS_UP = Gauge("twotower_redis_up", "0 while Redis does not answer, else 1", multiprocess_mode="livemin")
REDIS_FAILURES = Counter("twotower_redis_failures", "Commands that Redis refused or did not answer")
REDIS_MEMORY = Gauge(
    "twotower_redis_memory_bytes", "Memory in use by the fullest server of Redis", multiprocess_mode="livemax"
)
REDIS_MEMORY_LIMIT = Gauge(
    "twotower_redis_memory_limit_bytes", "Its limit; 0 if it has none", multiprocess_mode="livemax"
)
KEYS_REFUSED = Counter("twotower_keys_refused", "Changes of the keys file that could not be used")
RATE_LIMITS_ALONE = Counter(
    "twotower_rate_limits_alone", "Blocks of permits counted by one worker alone, without Redis"
)
UNREADABLE_VALUES = Counter("twotower_history_unreadable", "Values in Redis skipped because they are not interactions")
LOG_BYTES = Gauge("twotower_log_bytes", "Memory of the event log in Redis", multiprocess_mode="livemax")
LOG_LIMIT = Gauge("twotower_log_limit_bytes", "The event log refuses writes beyond this", multiprocess_mode="livemax")
INTERACTIONS = Counter(
    "twotower_interactions", "Interactions received: known_product, unknown_product, unknown_event (refused)", ["kind"]
)
PRODUCT_CHANGES = Counter("twotower_product_changes", "Accepted changes of products", ["kind"])
LIVE_ENCODED = Counter("twotower_live_encoded", "Contents of live products encoded, of every version")
LISTS_NOT_LOGGED = Counter("twotower_lists_not_logged", "Served lists that the event log had no room for")
EXPERIMENT_LISTS = Counter("twotower_experiment_lists", "Lists made for an arm", ["experiment", "arm"])
EXPERIMENT_IMPRESSIONS = Counter("twotower_experiment_impressions", "Products shown by an arm", ["experiment", "arm"])
EXPERIMENT_CLICKS = Counter("twotower_experiment_clicks", "Clicks that name a list of an arm", ["experiment", "arm"])
EXPERIMENT_FAILURES = Counter("twotower_experiment_failures", "Requests that an arm failed", ["experiment", "arm"])
ARM_OFF = Gauge(
    "twotower_experiment_arm_off",
    "1 for an arm that a guardrail has switched off",
    ["experiment", "arm"],
    multiprocess_mode="livemax",
)
EXPERIMENTS_REFUSED = Counter("twotower_experiments_refused", "Changes of the experiments file that cannot be used")
RULES_REFUSED = Counter("twotower_rules_refused", "Changes of the rules that cannot be used")
SHADOWS_SKIPPED = Counter("twotower_shadows_skipped", "Shadow lists not made because too many were under way")

# the library's `labels` takes a lock, which costs more than counting
answers = functools.cache(ANSWERS.labels)
experiment_lists = functools.cache(EXPERIMENT_LISTS.labels)
experiment_impressions = functools.cache(EXPERIMENT_IMPRESSIONS.labels)
experiment_clicks = functools.cache(EXPERIMENT_CLICKS.labels)
experiment_failures = functools.cache(EXPERIMENT_FAILURES.labels)
refused = functools.cache(REFUSED_REQUESTS.labels)
interactions = functools.cache(INTERACTIONS.labels)


def exposition() -> bytes:
    """All metrics in Prometheus' text format, combined over all workers (see http/workers.py)."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return generate_latest(REGISTRY)
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)
