"""Latency of a running gateway at 1, 16 and 64 concurrent clients, beside the same server's bare /healthz.

Usage, with `make demo` up:  .venv/bin/python benchmarks/latency.py [--url http://127.0.0.1:8000] [--requests 1000]

The routes are measured interleaved, three rounds; the table gives the median over rounds, and the ratio to /healthz of
the same round, which is what a change of the code should be judged by. Traffic goes to the given address only. The last
line is one JSON object.
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
PRODUCTS_OF_ONE_BUYER = 50


class Measured(NamedTuple):
    """One route at one concurrency in one round; times in milliseconds."""

    p50: float
    p99: float
    rate: float


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--requests", type=int, default=1000, help="of each route, concurrency and round")
    options = parser.parse_args()
    place = urlsplit(options.url)
    host, port = str(place.hostname), place.port or 80
    routes = await _routes(host, port)
    found: dict[tuple[str, int], list[Measured]] = {}
    for _ in range(ROUNDS):
        for clients in CLIENTS:
            for name, request in routes.items():
                measured = await _drive(host, port, request, clients, options.requests)
                found.setdefault((name, clients), []).append(measured)
    _report(found, list(routes))


async def _routes(host: str, port: int) -> dict[str, bytes]:
    """The requests to send: a buyer with a full history is made first."""
    status, body = await _once(host, port, _get(f"/search?q={quote('خاتم ذهب')}&k={PRODUCTS_OF_ONE_BUYER}"))
    if status != 200:
        raise SystemExit(f"/search answered {status}: {body[:300]!r}")
    now = int(time.time())
    interactions = [
        {"product_id": product, "event_type": "View", "timestamp": str(now - 60 * place)}
        for place, product in enumerate(json.loads(body)["product_ids"])
    ]
    payload = json.dumps({"buyer_id": "benchmark", "recent_interactions": interactions}).encode()
    encode = b"POST /encode_buyer HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    routes = {
        "/healthz": _get("/healthz"),
        "/encode_buyer, 50 interactions": encode + b"Content-Length: %d\r\n\r\n%s" % (len(payload), payload),
        "/retrieve, k = 10": _get("/retrieve?buyer_id=benchmark&k=10"),
        "/retrieve, k = 100": _get("/retrieve?buyer_id=benchmark&k=100"),
        "/search, k = 10": _get(f"/search?q={quote('زيت محرك')}&k=10"),
    }
    for name in list(routes)[1:]:
        status, body = await _once(host, port, routes[name])
        if status != 200:
            raise SystemExit(f"{name} answered {status}: {body[:300]!r}")
    return routes


def _get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


async def _once(host: str, port: int, request: bytes) -> tuple[int, bytes]:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        return await _ask(reader, writer, request)
    finally:
        writer.close()


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> tuple[int, bytes]:
    writer.write(request)
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
    return int(head[9:12]), await reader.readexactly(length)


async def _drive(host: str, port: int, request: bytes, clients: int, requests: int) -> Measured:
    times: list[float] = []
    left = iter(range(requests))

    async def client() -> None:
        reader, writer = await asyncio.open_connection(host, port)
        for _ in left:
            started = time.perf_counter()
            status, body = await _ask(reader, writer, request)
            times.append(time.perf_counter() - started)
            if status != 200:
                raise SystemExit(f"answered {status}: {body[:300]!r}")
        writer.close()

    started = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    seconds = time.perf_counter() - started
    times.sort()
    return Measured(1000 * times[len(times) // 2], 1000 * times[int(len(times) * 0.99)], requests / seconds)


def _report(found: dict[tuple[str, int], list[Measured]], names: Sequence[str]) -> None:
    print(f"{'route':<32}{'clients':>8}{'p50 ms':>9}{'p99 ms':>9}{'req/s':>9}{'p50 / healthz':>15}")
    rows = []
    for clients in CLIENTS:
        floor = found[("/healthz", clients)]
        for name in names:
            rounds = found[(name, clients)]
            p50, p99, rate = (statistics.median(column) for column in zip(*rounds, strict=True))
            ratio = statistics.median(one.p50 / low.p50 for one, low in zip(rounds, floor, strict=True))
            print(f"{name:<32}{clients:>8}{p50:>9.2f}{p99:>9.2f}{rate:>9.0f}{ratio:>15.1f}")
            rows.append({"route": name, "clients": clients, "p50": p50, "p99": p99, "rate": rate, "ratio": ratio})
    print(json.dumps({"benchmark": "latency", "rows": rows}))


if __name__ == "__main__":
    asyncio.run(main())
