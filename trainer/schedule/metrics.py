"""The scheduler's metrics."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

RUNS = Counter("twotower_schedule_runs", "Runs that ended", ["job", "code"])
LAST_CODE = Gauge("twotower_schedule_last_exit_code", "Exit code of the last run that ended", ["job"])
LAST_END = Gauge("twotower_schedule_last_end_seconds", "When the last run ended, seconds since 1970", ["job"])
RUN_SECONDS = Gauge("twotower_schedule_run_seconds", "Duration of the last run that ended", ["job"])
RUNNING = Gauge("twotower_schedule_running", "1 while a run of the job is under way, else 0", ["job"])
NEXT = Gauge("twotower_schedule_next_seconds", "When the job is due by the clock, seconds since 1970", ["job"])
