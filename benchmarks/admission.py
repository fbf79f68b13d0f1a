"""Expensive requests beside ordinary ones: how many ordinary requests fail, and how much later they are answered.

Usage:  make bench-admission [ARGS="--rate 150 --expensive-rate 20 --seconds 10"]

Starts Redis, buyer_service, retrieval_service and the gateway as `make demo` does. First prints what each kind of
request costs: CPU milliseconds over all processes, one request at a time. Then sends ordinary requests (three quarters
/retrieve, one quarter /encode_buyer) at a fixed rate, alone and beside each kind of expensive ones, in several rounds.
Requests leave on time whether or not earlier ones have been answered. Ratios compare runs of one round. The market is
synthetic (see market.py). The exit code is 1 if an ordinary request fails or the ratio of the medians is above 2. The
last line is one JSON object. Linux.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from itertools import cycle
from typing import NamedTuple

import uvloop

from benchmarks import market
from benchmarks.load import get, post
from benchmarks.processes import cpu_ms
from benchmarks.systems import CHAIN, ENCODE, System, add_market_arguments, start

MAX_RATIO = 2.0
_TIMEOUT_SECONDS = 10.0
_WARMUP_SECONDS = 1.0
_ROWS = 5000
# requests of each kind whose CPU time is measured
_COUNTED = 200


class Answers(NamedTuple):
    """The statuses of one stream of requests, 0 for a lost one, and the milliseconds of each answer."""

    statuses: Counter[int]
    times: list[float]

    @property
    def failed(self) -> int:
        return self.statuses.total() - self.statuses[200]

    def percentile(self, share: float) -> float:
        return sorted(self.times)[int(share * len(self.times))]


class _Stream:
    """Sends requests at a fixed rate over as many connections as it takes."""

    def __init__(self, port: int, requests: Sequence[str], rate: float) -> None:
        self._port = port
        self._requests = cycle([request.encode() for request in requests])
        self._rate = rate
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self.answers = Answers(Counter(), [])

    async def run(self, seconds: float, warmup: float = _WARMUP_SECONDS) -> Answers:
        tasks = set[asyncio.Task[None]]()
        begin = time.perf_counter()
        for number in range(int(self._rate * (warmup + seconds))):
            due = begin + number / self._rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            tasks.add(asyncio.create_task(self._send(next(self._requests), due, counted=due >= begin + warmup)))
        await asyncio.gather(*tasks)
        for _, writer in self._idle:
            writer.close()
        return self.answers

    async def _send(self, request: bytes, due: float, *, counted: bool) -> None:
        try:
            status = await asyncio.wait_for(self._exchange(request), _TIMEOUT_SECONDS)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, IndexError):
            status = 0
        if counted:
            self.answers.statuses[status] += 1
            self.answers.times.append(1000 * (time.perf_counter() - due))

    async def _exchange(self, request: bytes) -> int:
        while self._idle and self._idle[-1][0].at_eof():
            self._idle.pop()
        reader, writer = (
            self._idle.pop() if self._idle else await asyncio.open_connection("127.0.0.1", self._port, limit=1 << 22)
        )
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        await reader.readexactly(int(head.split(b"content-length:")[1].split(b"\r")[0]))
        if b"connection: close" in head:
            writer.close()
        else:
            self._idle.append((reader, writer))
        return int(head[9:12])


def main() -> int:
    options = _parser().parse_args()
    with ExitStack() as stack:
        systems = start(options, stack, monoliths=())
        kinds = _kinds(options.buyers)
        costs = _costs(systems[CHAIN], {**_ordinary(systems), **kinds, **_more_kinds(options.buyers)})
        rounds = [
            {name: _drive(systems, requests, options) for name, requests in {"": [], **kinds}.items()}
            for _ in range(options.rounds)
        ]
    rows = [_report(name, rounds) for name in kinds]
    print(
        json.dumps(
            {"benchmark": "admission", "synthetic": True, "cpu_ms": costs, "rows": [row._asdict() for row in rows]}
        )
    )
    return int(any(row.failed or row.ratio > MAX_RATIO for row in rows))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_market_arguments(parser)
    parser.add_argument("--rate", type=float, default=150.0, help="ordinary requests per second")
    parser.add_argument("--expensive-rate", type=float, default=20.0, help="expensive requests per second")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of each run")
    parser.add_argument("--rounds", type=int, default=3)
    return parser


def _ordinary(systems: Mapping[str, System]) -> dict[str, list[str]]:
    retrieves = [request.replace("&k=100", "&k=10") for request in systems[CHAIN].requests]
    return {"/retrieve k=10": retrieves, "/encode_buyer of a history": systems[ENCODE].requests}


def _kinds(buyers: int) -> dict[str, list[str]]:
    """The expensive requests, by name."""
    names = [market.buyer_id(row) for row in range(min(buyers, 100))]
    return {
        "k=1000, diversity": [get(f"/retrieve?buyer_id={name}&k=1000&diversity=1") for name in names],
        f"/encode_buyer of {_ROWS}": [_body("/encode_buyer", place, 1) for place in range(4)],
        f"/interactions of {_ROWS}, 50 buyers": [_body("/interactions", place, 50) for place in range(4)],
    }


def _more_kinds(buyers: int) -> dict[str, list[str]]:
    """Requests whose cost is measured only."""
    names = [market.buyer_id(row) for row in range(min(buyers, 100))]
    queries = {
        "k=100": "k=100",
        "k=1000": "k=1000",
        "k=1000, products": "k=1000&include=products",
        "k=10, filter": "k=10&in_stock=true",
        "k=1000, filter": "k=1000&in_stock=true",
        "k=10, 100 excluded": "k=10" + "".join(f"&exclude={market.product_id(row)}" for row in range(100)),
        "k=10, diversity": "k=10&diversity=0.5",
        "k=100, diversity": "k=100&diversity=0.5",
        "k=300, diversity": "k=300&diversity=0.5",
    }
    lists = {name: [get(f"/retrieve?buyer_id={buyer}&{query}") for buyer in names] for name, query in queries.items()}
    bodies = {f"/encode_buyer of {rows}": [_body("/encode_buyer", 0, 1, rows)] for rows in (200, 1000)}
    return lists | bodies | {"/interactions of 1000, 1000 buyers": [_body("/interactions", 0, 1000, 1000)]}


def _body(path: str, place: int, buyers: int, rows: int = _ROWS) -> str:
    events = [
        {
            "product_id": market.product_id((place + row) % 1000),
            "event_type": "View",
            "timestamp": 1_780_000_000_000 - 1000 * (row * 7 + place),
        }
        for row in range(rows)
    ]
    if path == "/encode_buyer":
        return post(path, json.dumps({"buyer_id": f"bulk{place}", "recent_interactions": events}))
    named = [{**event, "buyer_id": f"bulk{row % buyers}"} for row, event in enumerate(events)]
    return post(path, json.dumps({"interactions": named}))


def _costs(system: System, kinds: Mapping[str, Sequence[str]]) -> dict[str, dict[str, float]]:
    """CPU milliseconds of one request of each kind, by process."""
    print(f"\n{'CPU ms of one request':<40}{'sum':>8}   by process")
    costs = {}
    for name, requests in kinds.items():
        count = _COUNTED // 10 if name in _kinds(1) or "of 1000" in name else _COUNTED
        uvloop.run(_one_by_one(system.port, requests, count // 5))
        before = {process: cpu_ms(pid) for process, pid in system.processes.items()}
        uvloop.run(_one_by_one(system.port, requests, count))
        costs[name] = {
            process: round((cpu_ms(pid) - before[process]) / count, 2) for process, pid in system.processes.items()
        }
        by_process = "  ".join(f"{process} {value:.2f}" for process, value in costs[name].items())
        print(f"{name:<40}{sum(costs[name].values()):>8.2f}   {by_process}", flush=True)
    return costs


async def _one_by_one(port: int, requests: Sequence[str], count: int) -> None:
    """Sends `count` requests, each after the answer to the last one. Raises SystemExit if one fails."""
    stream, waiting = _Stream(port, requests, 1.0), cycle(request.encode() for request in requests)
    for _ in range(count):
        status = await stream._exchange(next(waiting))
        if status != 200:
            raise SystemExit(f"a request was answered with {status}")


def _drive(
    systems: Mapping[str, System], expensive: Sequence[str], options: argparse.Namespace
) -> tuple[Answers, Answers]:
    """The answers to the ordinary and to the expensive requests of one run."""
    retrieves, encodes = _ordinary(systems).values()
    ordinary = [request for place, encode in enumerate(encodes) for request in (*retrieves[3 * place :][:3], encode)]
    port = systems[CHAIN].port

    async def run() -> tuple[Answers, Answers]:
        beside = _Stream(port, expensive, options.expensive_rate if expensive else 0.0)
        return await asyncio.gather(
            _Stream(port, ordinary, options.rate).run(options.seconds), beside.run(options.seconds)
        )

    outcome = uvloop.run(run())
    time.sleep(_WARMUP_SECONDS)  # what is still under way does not disturb the next run
    return outcome


class Row(NamedTuple):
    """The figures of one kind of expensive requests: medians over rounds, of milliseconds and of their ratios.

    `answered`: the statuses of the expensive requests.
    """

    expensive: str
    ordinary: int
    failed: int
    ratio: float
    ratios: list[float]
    p50: float
    p50_alone: float
    p99: float
    p99_alone: float
    answered: dict[str, int]


def _report(name: str, rounds: Sequence[Mapping[str, tuple[Answers, Answers]]]) -> Row:
    """Prints one kind's figures, medians over rounds, and returns them."""
    ratios = [run[name][0].percentile(0.5) / run[""][0].percentile(0.5) for run in rounds]
    expensive = sum((run[name][1].statuses for run in rounds), Counter[int]())

    def median(kind: str, share: float) -> float:
        return round(statistics.median(run[kind][0].percentile(share) for run in rounds), 2)

    row = Row(
        name,
        sum(run[name][0].statuses.total() for run in rounds),
        sum(run[name][0].failed + run[""][0].failed for run in rounds),
        round(statistics.median(ratios), 2),
        [round(ratio, 2) for ratio in ratios],
        p50=median(name, 0.5),
        p50_alone=median("", 0.5),
        p99=median(name, 0.99),
        p99_alone=median("", 0.99),
        answered={str(status): count for status, count in sorted(expensive.items())},
    )
    print(
        f"beside {name}: {row.failed} of {row.ordinary} ordinary requests failed; p50 {row.p50} ms, alone "
        f"{row.p50_alone}, ratio {row.ratio} {row.ratios}; p99 {row.p99} ms, alone {row.p99_alone}; "
        f"answers to the expensive ones: {row.answered}",
        flush=True,
    )
    return row


if __name__ == "__main__":
    sys.exit(main())
