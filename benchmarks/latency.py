"""Latency of a running gateway at 1, 16 and 64 clients, compared with the bare /healthz of the same server.

Usage, while `make demo` is up:  python -m benchmarks.latency [--url http://127.0.0.1:8000] [--requests 1000]

Measures the routes in turn, in three rounds. The table shows the median of the rounds and the ratio to /healthz of the
same round. Judge a change of the code by this ratio. All requests go to the given address. The last line is one JSON
object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import quote, urlsplit

ROUNDS = 3
CLIENTS = (1, 16, 64)
HISTORY_LENGTH = 50


class Measurement(NamedTuple):
    """One route with one number of clients in one round: latency in milliseconds, requests per second."""

    p50: float
    p99: float
    rate: float


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="address of the gateway")
    parser.add_argument("--requests", type=int, default=1000, help="requests per route, number of clients and round")
    options = parser.parse_args()
    address = urlsplit(options.url)
    host, port = str(address.hostname), address.port or 80
    requests = await _prepare_requests(host, port)
    measurements: dict[tuple[str, int], list[Measurement]] = {}
    for _ in range(ROUNDS):
        for clients in CLIENTS:
            for route, request in requests.items():
                measurement = await _measure(host, port, request, clients, options.requests)
                measurements.setdefault((route, clients), []).append(measurement)
    _report(measurements, list(requests))


async def _prepare_requests(host: str, port: int) -> dict[str, bytes]:
    """Returns one request per route. Gives the buyer of these requests a full history first."""
    status, body = await _send_once(host, port, _get(f"/search?q={quote('خاتم ذهب')}&k={HISTORY_LENGTH}"))
    if status != 200:
        raise SystemExit(f"/search answered {status} instead of 200: {body[:300]!r}")
    now = int(time.time())
    interactions = [
        {"product_id": product, "event_type": "View", "timestamp": str(now - 60 * minutes)}
        for minutes, product in enumerate(json.loads(body)["product_ids"])
    ]
    payload = json.dumps({"buyer_id": "benchmark", "recent_interactions": interactions}).encode()
    encode = b"POST /encode_buyer HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    requests = {
        "/healthz": _get("/healthz"),
        "/encode_buyer, 50 interactions": encode + b"Content-Length: %d\r\n\r\n%s" % (len(payload), payload),
        "/retrieve, k = 10": _get("/retrieve?buyer_id=benchmark&k=10"),
        "/retrieve, k = 100": _get("/retrieve?buyer_id=benchmark&k=100"),
        "/search, k = 10": _get(f"/search?q={quote('زيت محرك')}&k=10"),
    }
    for route in list(requests)[1:]:
        status, body = await _send_once(host, port, requests[route])
        if status != 200:
            raise SystemExit(f"{route} answered {status} instead of 200: {body[:300]!r}")
    return requests


def _get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


async def _send_once(host: str, port: int, request: bytes) -> tuple[int, bytes]:
    """Sends one request on a connection of its own; returns status and body."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        return await _send(reader, writer, request)
    finally:
        writer.close()


async def _send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> tuple[int, bytes]:
    writer.write(request)
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
    return int(head[9:12]), await reader.readexactly(length)


async def _measure(host: str, port: int, request: bytes, clients: int, count: int) -> Measurement:
    """Sends the request `count` times in all, from `clients` connections at once."""
    times: list[float] = []
    remaining = iter(range(count))

    async def client() -> None:
        reader, writer = await asyncio.open_connection(host, port)
        for _ in remaining:
            started = time.perf_counter()
            status, body = await _send(reader, writer, request)
            times.append(time.perf_counter() - started)
            if status != 200:
                raise SystemExit(f"the gateway answered {status} instead of 200: {body[:300]!r}")
        writer.close()

    started = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    seconds = time.perf_counter() - started
    times.sort()
    return Measurement(1000 * times[len(times) // 2], 1000 * times[int(len(times) * 0.99)], count / seconds)


def _report(measurements: dict[tuple[str, int], list[Measurement]], routes: Sequence[str]) -> None:
    print(f"{'route':<32}{'clients':>8}{'p50 ms':>9}{'p99 ms':>9}{'req/s':>9}{'p50 / healthz':>15}")
    rows = []
    for clients in CLIENTS:
        baseline = measurements["/healthz", clients]
        for route in routes:
            rounds = measurements[route, clients]
            p50, p99, rate = (statistics.median(column) for column in zip(*rounds, strict=True))
            ratio = statistics.median(one.p50 / bare.p50 for one, bare in zip(rounds, baseline, strict=True))
            print(f"{route:<32}{clients:>8}{p50:>9.2f}{p99:>9.2f}{rate:>9.0f}{ratio:>15.1f}")
            rows.append({"route": route, "clients": clients, "p50": p50, "p99": p99, "rate": rate, "ratio": ratio})
    print(json.dumps({"benchmark": "latency", "rows": rows}))


if __name__ == "__main__":
    asyncio.run(main())
