"""Processes that a test starts, and their output line by line."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Process:
    """A process of the test; its output and errors are read line by line as they come."""

    popen: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)
    _new: queue.Queue[str | None] = field(default_factory=queue.Queue)

    def follow(self) -> None:
        """Reads until the process closes its output; runs in a thread of its own."""
        assert self.popen.stdout is not None
        for line in self.popen.stdout:
            self._new.put(line.rstrip("\n"))
        self._new.put(None)

    def wait_for(self, good: Callable[[str], bool], seconds: float = 60.0) -> str:
        """The next line that is good; AssertionError with all lines where the process ends or time runs out first."""
        end = time.monotonic() + seconds
        while True:
            try:
                line = self._new.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                line = None
            assert line is not None, "no such line:\n" + "\n".join(self.lines)
            self.lines.append(line)
            if good(line):
                return line

    def finish(self, seconds: float = 60.0) -> int:
        """Waits for the end of the process and returns its exit code; every line is in `lines` then."""
        code = self.popen.wait(seconds)
        while (line := self._new.get(timeout=seconds)) is not None:
            self.lines.append(line)
        return code


@contextmanager
def process(
    *command: str, environ: Mapping[str, str] | None = None, python: str = sys.executable, cwd: Path = ROOT
) -> Iterator[Process]:
    """Runs `python COMMAND` with `environ` added to an environment without TWOTOWER_ names; killed at the end."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TWOTOWER_")}
    popen = subprocess.Popen(
        [python, *command],
        env={**kept, "PYTHONUNBUFFERED": "1", **(environ or {})},
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
    )
    started = Process(popen)
    reader = threading.Thread(target=started.follow, daemon=True)
    reader.start()
    try:
        yield started
    finally:
        if popen.poll() is None:
            popen.send_signal(signal.SIGKILL)
        popen.wait()
        reader.join()
        assert popen.stdout is not None
        popen.stdout.close()


def is_log(line: str, message: str) -> bool:
    """Whether a line of a process is the JSON log record of that message."""
    return line.startswith("{") and json.loads(line)["message"] == message
