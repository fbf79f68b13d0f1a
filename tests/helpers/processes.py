"""Starts processes for a test and reads their output line by line."""

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
    """A process that a test has started. `lines` holds the output and errors read so far."""

    popen: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)
    _unread: queue.Queue[str | None] = field(default_factory=queue.Queue)

    def follow(self) -> None:
        """Reads until the process closes its output. Runs in a thread of its own."""
        assert self.popen.stdout is not None
        for line in self.popen.stdout:
            self._unread.put(line.rstrip("\n"))
        self._unread.put(None)

    def wait_for(self, is_good: Callable[[str], bool], seconds: float = 60.0) -> str:
        """Returns the next good line. Raises AssertionError with all lines if the process ends or time runs out."""
        end = time.monotonic() + seconds
        while True:
            try:
                line = self._unread.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                line = None
            assert line is not None, "the expected line did not come; the output was:\n" + "\n".join(self.lines)
            self.lines.append(line)
            if is_good(line):
                return line

    def finish(self, seconds: float = 60.0) -> int:
        """Waits until the process ends and returns its exit code. `lines` then holds the whole output."""
        code = self.popen.wait(seconds)
        while (line := self._unread.get(timeout=seconds)) is not None:
            self.lines.append(line)
        return code


def clean_environ() -> dict[str, str]:
    """The environment of the tests without our settings (TWOTOWER_...)."""
    return {name: value for name, value in os.environ.items() if not name.startswith("TWOTOWER_")}


@contextmanager
def process(
    *command: str, environ: Mapping[str, str] | None = None, python: str = sys.executable, cwd: Path = ROOT
) -> Iterator[Process]:
    """Runs `python COMMAND` with `environ` added to `clean_environ()`. Kills it at the end."""
    popen = subprocess.Popen(
        [python, *command],
        env={**clean_environ(), "PYTHONUNBUFFERED": "1", **(environ or {})},
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
    """Whether a line of output is a JSON log record with this message."""
    return line.startswith("{") and json.loads(line)["message"] == message
