"""A load generator that costs little CPU: one process, one keep-alive connection per client, HTTP/1.1 by hand.

Usage:  python -m benchmarks.load PORT CLIENTS SECONDS WARMUP < requests.json

Each client sends its next request when the answer to its last one has arrived. Standard input holds a JSON list of
complete HTTP requests as text. The clients send them in turn. The last line is one JSON object, see `Outcome`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from itertools import cycle
from typing import NamedTuple

import uvloop


class Outcome(NamedTuple):
    """Result of one run; latency and rate are those of the requests sent after the warm-up.

    `rate` is in requests per second, `p50` and `p99` in milliseconds. `requests` counts all answers, with those of the
    warm-up. `failures` holds up to ten answers other than 200, and lost connections. `cpu_ms` is the CPU time of the
    load generator per request.
    """

    rate: float
    p50: float
    p99: float
    requests: int
    failures: list[str]
    cpu_ms: float


class _Client(asyncio.Protocol):
    """One connection, with at most one request in flight."""

    def __init__(self, run: _Run) -> None:
        self._run = run
        self._body_left = -1  # bytes of the answer's body still to come; -1 while its head is read
        self._head = b""
        self._sent = 0.0
        self.closed = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        if self._body_left < 0:
            data = self._head + data
            end = data.find(b"\r\n\r\n")
            if end < 0:
                self._head = data
                return
            head, self._head = data[:end].lower(), b""
            start = head.index(b"content-length:") + 15
            stop = head.find(b"\r", start)
            self._body_left = int(head[start : stop if stop > 0 else None])
            self._body_left -= len(data) - end - 4
            if head[9:12] != b"200" and len(self._run.failures) < 10:
                self._run.failures.append(data[:500].decode(errors="replace"))
        else:
            self._body_left -= len(data)
        if self._body_left <= 0:
            self._body_left = -1
            self._run.times.append((self._sent, time.perf_counter()))
            self._send()

    def connection_lost(self, error: Exception | None) -> None:
        if self._run.is_going():
            self._run.failures.append(f"connection lost: {error}")
        self.closed.set_result(None)

    def _send(self) -> None:
        if not self._run.is_going():
            self._transport.close()
            return
        self._sent = time.perf_counter()
        self._transport.write(next(self._run.requests))


class _Run:
    """State that all clients share: the requests, when each was sent and answered, and the failures."""

    def __init__(self, requests: list[bytes], seconds: float) -> None:
        self.requests = cycle(requests)
        self.times: list[tuple[float, float]] = []
        self.failures: list[str] = []
        self.end = time.perf_counter() + seconds

    def is_going(self) -> bool:
        return time.perf_counter() < self.end


async def drive(port: int, clients: int, seconds: float, warmup: float, requests: list[bytes]) -> Outcome:
    """Keeps `clients` connections busy for `warmup` and then `seconds` seconds."""
    run = _Run(requests, warmup + seconds)
    loop, cpu = asyncio.get_running_loop(), time.process_time()
    started = time.perf_counter()
    connections = [await loop.create_connection(lambda: _Client(run), "127.0.0.1", port) for _ in range(clients)]
    await asyncio.gather(*(client.closed for _, client in connections))
    cpu = time.process_time() - cpu
    times = sorted(end - begin for begin, end in run.times if begin >= started + warmup)
    if not times:
        raise SystemExit(f"port {port} answered no request after the warm-up; failures: {run.failures[:3]}")
    return Outcome(
        rate=len(times) / seconds,
        p50=1000 * times[len(times) // 2],
        p99=1000 * times[int(len(times) * 0.99)],
        requests=len(run.times),
        failures=run.failures,
        cpu_ms=1000 * cpu / len(run.times),
    )


def drive_in_process(port: int, clients: int, seconds: float, warmup: float, requests: Sequence[str]) -> Outcome:
    """The same in a process of its own, so that the caller's work does not slow the clients down."""
    command = [sys.executable, "-m", "benchmarks.load", str(port), str(clients), str(seconds), str(warmup)]
    run = subprocess.run(
        command,
        input=json.dumps(requests),
        capture_output=True,
        text=True,
        check=False,
        timeout=90 + 3 * seconds,
    )
    if run.returncode:
        raise SystemExit(run.stderr)
    return Outcome(**json.loads(run.stdout))


def get(path: str) -> str:
    """The text of a GET request."""
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


def post(path: str, body: str) -> str:
    """The text of a POST request with a JSON body."""
    headers = f"Host: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body.encode())}"
    return f"POST {path} HTTP/1.1\r\n{headers}\r\n\r\n{body}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("port", type=int, help="port on 127.0.0.1")
    parser.add_argument("clients", type=int, help="number of connections")
    parser.add_argument("seconds", type=float, help="length of the measured part")
    parser.add_argument("warmup", type=float, help="seconds before it that are not measured")
    options = parser.parse_args()
    requests = [request.encode() for request in json.load(sys.stdin)]
    outcome = uvloop.run(drive(options.port, options.clients, options.seconds, options.warmup, requests))
    print(json.dumps(outcome._asdict()))


if __name__ == "__main__":
    main()
