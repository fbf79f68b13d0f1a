"""A load generator that costs little: one process, one keep-alive connection per client, HTTP/1.1 without a library.

Usage:  python -m benchmarks.load PORT CLIENTS SECONDS WARMUP < requests.json

Each client sends its next request when it has the answer to the last. Standard input holds a JSON list of whole
requests as text, which are sent in turn. The last line is one JSON object: requests per second, p50 and p99 in ms,
the answers that were not 200, and this process's own CPU time per request.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from itertools import cycle
from typing import NamedTuple

import uvloop


class Outcome(NamedTuple):
    """What a run gave: all times of its measured part, in milliseconds."""

    rate: float
    p50: float
    p99: float
    requests: int
    failures: list[str]
    cpu_ms: float


class _Client(asyncio.Protocol):
    """One connection, at most one request on it."""

    def __init__(self, run: _Run) -> None:
        self._run = run
        self._left = -1
        self._head = b""
        self._sent = 0.0
        self.closed = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        if self._left < 0:
            data = self._head + data
            end = data.find(b"\r\n\r\n")
            if end < 0:
                self._head = data
                return
            head, self._head = data[:end].lower(), b""
            start = head.index(b"content-length:") + 15
            stop = head.find(b"\r", start)
            self._left = int(head[start : stop if stop > 0 else None])
            self._left -= len(data) - end - 4
            if head[9:12] != b"200" and len(self._run.failures) < 10:
                self._run.failures.append(data[:500].decode(errors="replace"))
        else:
            self._left -= len(data)
        if self._left <= 0:
            self._left = -1
            self._run.times.append((self._sent, time.perf_counter()))
            self._send()

    def connection_lost(self, error: Exception | None) -> None:
        if self._run.going():
            self._run.failures.append(f"connection lost: {error}")
        self.closed.set_result(None)

    def _send(self) -> None:
        if not self._run.going():
            self._transport.close()
            return
        self._sent = time.perf_counter()
        self._transport.write(next(self._run.requests))


class _Run:
    def __init__(self, requests: list[bytes], seconds: float) -> None:
        self.requests = cycle(requests)
        self.times: list[tuple[float, float]] = []
        self.failures: list[str] = []
        self.end = time.perf_counter() + seconds

    def going(self) -> bool:
        return time.perf_counter() < self.end


async def drive(port: int, clients: int, seconds: float, warmup: float, requests: list[bytes]) -> Outcome:
    """Keeps `clients` connections busy; what is sent in the first `warmup` seconds is not counted."""
    run = _Run(requests, warmup + seconds)
    loop, cpu = asyncio.get_running_loop(), time.process_time()
    started = time.perf_counter()
    made = [await loop.create_connection(lambda: _Client(run), "127.0.0.1", port) for _ in range(clients)]
    await asyncio.gather(*(client.closed for _, client in made))
    cpu = time.process_time() - cpu
    times = sorted(end - begin for begin, end in run.times if begin >= started + warmup)
    if not times:
        raise SystemExit(f"no request was answered: {run.failures[:3]}")
    return Outcome(
        rate=len(times) / seconds,
        p50=1000 * times[len(times) // 2],
        p99=1000 * times[int(len(times) * 0.99)],
        requests=len(run.times),
        failures=run.failures,
        cpu_ms=1000 * cpu / len(run.times),
    )


def get(path: str) -> str:
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


def post(path: str, body: str) -> str:
    size = len(body.encode())
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {size}\r\n\r\n"
    )
    return head + body


def main() -> None:
    port, clients, seconds, warmup = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])
    requests = [one.encode() for one in json.load(sys.stdin)]
    print(json.dumps(uvloop.run(drive(port, clients, seconds, warmup, requests))._asdict()))


if __name__ == "__main__":
    main()
