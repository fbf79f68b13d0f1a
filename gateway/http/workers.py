"""Several gateway processes on one port: the kernel shares the connections out, one parent keeps them up."""

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

from gateway.http.server import listen
from gateway.settings import GatewaySettings

log = logging.getLogger("gateway")

# where prometheus_client keeps what several processes count together; it reads the name when it is imported
METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"


_MOST_RESTARTS = 5


_CALM_SECONDS = 60.0


_POLL_SECONDS = 0.1


# beyond the time that running requests get
_STOP_SECONDS = 5.0


@dataclass
class _Worker:
    """One process and the socket that it accepts from: connections in its queue outlive it."""

    listener: socket.socket
    process: subprocess.Popen[bytes] | None = None
    starts: list[float] = field(default_factory=list)


def listen_shared(host: str, port: int, workers: int) -> list[socket.socket]:
    """Sockets that share one port. OSError where the port is taken or the host is not of this machine."""
    # sockets with SO_REUSEPORT would join those of another gateway unasked: a plain one finds out first
    with listen(host, port) as probe:
        port = probe.getsockname()[1]
    return [listen(host, port, shared=True) for _ in range(workers)]


def run(settings: GatewaySettings, listeners: list[socket.socket]) -> int:
    """Runs one worker per listener until SIGTERM or SIGINT, then drains them. 0, or 1 where one cannot be kept up."""
    workers = [_Worker(one) for one in listeners]
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    log.info("listening", extra={"host": settings.host, "port": listeners[0].getsockname()[1]})
    with tempfile.TemporaryDirectory(prefix="gateway-metrics-") as folder, _lifeline() as alive:
        if settings.metrics_port is not None:
            registry = CollectorRegistry()
            MultiProcessCollector(registry, path=folder)  # type: ignore[no-untyped-call]
            start_http_server(settings.metrics_port, addr=settings.host, registry=registry)
        failed = False
        while not stopping.is_set() and not failed:
            for worker in workers:
                failed |= not _keep_up(worker, folder, alive)
            stopping.wait(_POLL_SECONDS)
        _stop(workers, settings.drain_seconds + _STOP_SECONDS)
    log.info("stopped")
    return int(failed)


def watch_parent(alive: int) -> None:
    """Sends this process SIGTERM once its parent is gone: then nothing is left at the other end of the pipe."""

    def wait() -> None:
        os.read(alive, 1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True, name="watch-parent").start()


@contextlib.contextmanager
def _lifeline() -> Iterator[int]:
    """The end of a pipe that reads as closed when this process has ended, however it ended."""
    reader, writer = os.pipe()
    try:
        yield reader
    finally:
        os.close(reader)
        os.close(writer)


def _keep_up(worker: _Worker, folder: str, alive: int) -> bool:
    """Starts a worker that does not run; False where it ended again and again."""
    process = worker.process
    if process is not None and process.poll() is None:
        return True
    if process is not None:
        mark_process_dead(process.pid, path=folder)  # type: ignore[no-untyped-call]
        log.error("a worker ended with exit code %s", process.returncode, extra={"pid": process.pid})
    now = time.monotonic()
    worker.starts = [one for one in worker.starts if now - one < _CALM_SECONDS]
    if len(worker.starts) > _MOST_RESTARTS:
        log.error("a worker ended %s times within %s s", len(worker.starts), _CALM_SECONDS)
        return False
    worker.starts.append(now)
    inherited = (worker.listener.fileno(), alive)
    worker.process = subprocess.Popen(
        [sys.executable, "-m", "gateway", "--worker", *map(str, inherited)],
        env={**os.environ, METRICS_FOLDER: folder},
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
            log.error("a worker did not stop in time", extra={"pid": process.pid})
            process.kill()
            process.wait()
    for worker in workers:
        worker.listener.close()
