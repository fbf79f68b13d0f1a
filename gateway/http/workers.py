"""Several gateway processes on one port: the kernel spreads connections over them, a parent restarts dead ones.

Each worker opens a listening socket of its own when it can answer, so that no connection waits for one that starts.

Why not `uvicorn --workers`: it costs the same CPU per request (0.93 to 1.02 times), but its workers outlive a killed
parent, it restarts a worker that always fails without end, waits for a hung one without limit, and leaves a dead
worker's gauges in the metrics.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from gateway.http.draining import bind
from gateway.settings import GatewaySettings

log = logging.getLogger("gateway")

# names the folder where prometheus_client keeps what several processes count together; read when it is imported
_METRICS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
# a worker that needs more restarts than this within this time ends the gateway
_MAX_RESTARTS = 5
_RESTART_WINDOW_SECONDS = 60.0
_POLL_SECONDS = 0.1
# beyond `drain_seconds`
_STOP_SECONDS = 5.0


@dataclass
class _Worker:
    """One process, and when it was started."""

    process: subprocess.Popen[bytes] | None = None
    starts: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class _Shared:
    """What every worker gets: the port, the folder of the metrics, and its ends of two pipes."""

    port: int
    folder: str
    # closes when the parent ends
    lifeline: int
    # a worker writes a byte when it listens
    listening: int


def bind_shared(host: str, port: int) -> socket.socket:
    """A socket that keeps a port for the workers. Raises OSError if the port is in use or the host is not local."""
    # a shared socket would join those of another gateway, so a plain one checks that the port is free
    with bind(host, port) as probe:
        port = probe.getsockname()[1]
    return bind(host, port, shared=True)


def run(settings: GatewaySettings, keeper: socket.socket) -> int:
    """Runs the workers on the port of `keeper` until SIGTERM or SIGINT, then drains them.

    Returns the exit code: 1 if a worker fails again and again, else 0.
    """
    workers, port = [_Worker() for _ in range(settings.workers)], keeper.getsockname()[1]
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    with (
        tempfile.TemporaryDirectory(prefix="gateway-metrics-") as folder,
        _pipe() as (lifeline, _),
        _pipe() as (first, listening),
    ):
        if settings.metrics_port is not None:
            registry = CollectorRegistry()
            MultiProcessCollector(registry, path=folder)  # type: ignore[no-untyped-call]
            start_http_server(settings.metrics_port, addr=settings.host, registry=registry)
        _log_first(first, {"host": settings.host, "port": port})
        shared, failed = _Shared(port, folder, lifeline, listening), False
        while not stopping.is_set() and not failed:
            for worker in workers:
                failed |= not _ensure_running(worker, shared)
            stopping.wait(_POLL_SECONDS)
        _stop(workers, settings.drain_seconds + _STOP_SECONDS)
        keeper.close()
    log.info("stopped")
    return int(failed)


def watch_parent(lifeline: int) -> None:
    """Sends this process SIGTERM when its parent has ended: the parent's end of the pipe is then closed."""

    def wait() -> None:
        os.read(lifeline, 1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True, name="watch-parent").start()


def announce(listening: int) -> None:
    """Tells the parent that this worker listens."""
    os.write(listening, b".")


@contextlib.contextmanager
def _pipe() -> Iterator[tuple[int, int]]:
    """Both ends of a pipe, which close with this process, for whatever reason it ends."""
    reader, writer = os.pipe()
    try:
        yield reader, writer
    finally:
        os.close(reader)
        os.close(writer)


def _log_first(listening: int, extra: dict[str, object]) -> None:
    """Logs that the gateway listens when the first worker does."""

    def wait() -> None:
        if os.read(listening, 1):
            log.info("listening", extra=extra)

    threading.Thread(target=wait, daemon=True, name="first-worker").start()


def _ensure_running(worker: _Worker, shared: _Shared) -> bool:
    """Starts the worker if it is not running. Returns False if it has ended too often."""
    process = worker.process
    if process is not None and process.poll() is None:
        return True
    if process is not None:
        mark_process_dead(process.pid, path=shared.folder)  # type: ignore[no-untyped-call]
        log.error("a worker ended with exit code %s", process.returncode, extra={"pid": process.pid})
    now = time.monotonic()
    worker.starts = [start for start in worker.starts if now - start < _RESTART_WINDOW_SECONDS]
    if len(worker.starts) > _MAX_RESTARTS:
        log.error("a worker ended %s times within %s s: stopping", len(worker.starts), _RESTART_WINDOW_SECONDS)
        return False
    worker.starts.append(now)
    inherited = (shared.lifeline, shared.listening)
    worker.process = subprocess.Popen(
        [sys.executable, "-m", "gateway", "--worker", str(shared.port), *map(str, inherited)],
        env={**os.environ, _METRICS_VARIABLE: shared.folder},
        pass_fds=inherited,
    )
    return True


def _stop(workers: list[_Worker], seconds: float) -> None:
    running = [worker.process for worker in workers if worker.process is not None and worker.process.poll() is None]
    for process in running:
        process.terminate()
    end = time.monotonic() + seconds
    for process in running:
        try:
            process.wait(max(0.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            log.error("a worker did not stop within %s s and is killed", seconds, extra={"pid": process.pid})
            process.kill()
            process.wait()
