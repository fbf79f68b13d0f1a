"""A Milvus for tests: milvus-lite's own server, on a free port and in a temporary folder."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from pymilvus import MilvusClient
from pymilvus.exceptions import MilvusException

from tests.helpers.redis_server import free_port
from twotower.search.milvus_address import MilvusAddress

_SECONDS = 60.0


class MilvusServer:
    """A context manager that runs the server; a test may stop it and start it again with what it holds."""

    def __init__(self) -> None:
        self._port = free_port()
        self._folder = tempfile.TemporaryDirectory(prefix="milvus-")
        self._process: subprocess.Popen[bytes] | None = None
        self.address = MilvusAddress(f"http://127.0.0.1:{self._port}", timeout_seconds=20.0)

    @property
    def client(self) -> MilvusClient:
        return MilvusClient(uri=self.address.uri)

    def start(self) -> None:
        """Starts the server and returns as soon as it answers."""
        options = ["server", "--host", "127.0.0.1", "--port", str(self._port), "--data-dir", self._folder.name]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "milvus_lite", *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        end = time.monotonic() + _SECONDS
        while True:
            try:
                MilvusClient(uri=self.address.uri, timeout=1).list_collections()
                return
            except MilvusException:
                assert time.monotonic() < end and self._process.poll() is None, "milvus-lite does not start"
                time.sleep(0.05)

    def stop(self) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(_SECONDS)
        self._process = None

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Inside the block the server takes connections and answers nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def __enter__(self) -> MilvusServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self.stop()
        self._folder.cleanup()
