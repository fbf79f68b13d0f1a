"""The explorer as a process."""

from __future__ import annotations

import json
import signal
import socket

from tests.helpers.processes import process


def test_sigterm_ends_it_with_zero() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with process("-m", "explorer", environ={"TWOTOWER_EXPLORER_PORT": str(port)}) as started:
        started.wait_for(lambda line: "Uvicorn running" in json.loads(line)["message"])
        started.popen.send_signal(signal.SIGTERM)
        assert started.finish() == 0
