"""What the serving benchmarks ask of a process: a free port, readiness over HTTP, CPU time. Linux."""

from __future__ import annotations

import json
import os
import socket
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from demo.supervisor import Child

_TICK_MS = 1000 / os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    """A port of 127.0.0.1 on which no process listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def get_json(port: int, path: str) -> dict[str, Any]:
    """The JSON object with which 127.0.0.1 answers a GET. Raises OSError if there is no such answer."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as response:
        answer: dict[str, Any] = json.load(response)
        return answer


def wait_for_answer(port: int, path: str, is_good: Callable[[dict[str, Any]], bool], seconds: float = 120) -> None:
    """Asks until the answer is good. Raises SystemExit with the last answer or error after `seconds`."""
    end = time.monotonic() + seconds
    last = "no answer"
    while time.monotonic() < end:
        try:
            answer = get_json(port, path)
            if is_good(answer):
                return
            last = str(answer)
        except OSError as error:
            last = str(error)
        time.sleep(0.1)
    raise SystemExit(f"port {port} is not ready after {seconds:.0f} s; the last answer to {path}: {last}")


@contextmanager
def running(children: Sequence[Child], logs: Path) -> Iterator[dict[str, int]]:
    """Starts the processes and yields their ids by name; at the end stops them, the last one first."""
    try:
        for child in children:
            child.start(logs)
        yield {child.name: child.process.pid for child in children if child.process}
    finally:
        for child in reversed(children):
            if child.process:
                child.process.terminate()
                child.process.wait()


def cpu_ms(pid: int) -> float:
    """CPU milliseconds that a process and its present descendants have used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    own = (int(fields[11]) + int(fields[12])) * _TICK_MS
    return own + sum(cpu_ms(child) for child in _child_pids(pid))


def _child_pids(pid: int) -> list[int]:
    """Direct children of a process."""
    pids = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            pids += [int(child) for child in (task / "children").read_text().split()]
        except FileNotFoundError:
            continue  # the thread has ended in the meantime
    return pids
