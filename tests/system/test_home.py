"""A container with a read-only root and no home: every process starts, and logs nothing but JSON lines."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.helpers.processes import is_log, process
from tests.helpers.services import cache_of


@pytest.mark.parametrize("name", ["item_service", "buyer_service", "retrieval_service", "gateway"])
def test_a_process_needs_no_home(tiny: Path, name: str) -> None:
    environ = {
        "HOME": "/proc/nohome",
        "TWOTOWER_ARTIFACTS": str(tiny),
        "TWOTOWER_CACHE": str(cache_of(tiny)),
        "TWOTOWER_GATEWAY_PORT": "0",
    }
    with process("-m", name, environ=environ) as started:
        started.wait_for(lambda line: is_log(line, "listening"))
        started.popen.send_signal(signal.SIGTERM)
        assert started.finish() == 0
    assert {json.loads(line)["level"] for line in started.lines} <= {"INFO", "WARNING", "ERROR"}
