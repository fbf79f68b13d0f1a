"""The recorder's metrics."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

UP = Gauge("twotower_recorder_up", "0 while Redis or the disk fails, else 1")
FAILURES = Counter("twotower_recorder_failures", "Attempts to read or write that failed")
ROWS = Counter("twotower_recorder_rows", "Rows written")
WAITING = Gauge("twotower_recorder_waiting", "Entries of the stream that are not in a file yet")
WRITTEN_AT = Gauge("twotower_recorder_written_seconds", "When the last file was written, seconds since 1970")
DISK_FREE = Gauge("twotower_recorder_disk_free_bytes", "Room on the disk of the log")
REMOVED_ROWS = Counter("twotower_recorder_removed_rows", "Rows of forgotten buyers that were removed from files")
