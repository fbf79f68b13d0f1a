"""Sends many requests from 64 clients: every answer must be good, and no process may use more and more memory.

Usage:  make soak [ARGS="--requests 1000000"]

Three quarters of the requests are GET /retrieve, one quarter POST /encode_buyer, which writes to Redis. Reads the
resident memory of every process once a second. The mean of the last quarter of the run must be at most 5 % above the
mean of the second quarter. The market is synthetic (see market.py). The exit code is 1 if a request fails or memory
grows. The last line is one JSON object. Linux.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks.load import Outcome, drive_in_process
from benchmarks.systems import CHAIN, ENCODE, System, add_market_arguments, start

CLIENTS = 64
MAX_GROWTH = 0.05
_RUN_SECONDS = 10
_PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 1e6


class Soak(NamedTuple):
    """The runs of the load generator, and for each process its memory in MB, second by second."""

    outcomes: list[Outcome]
    memory_mb: dict[str, list[float]]
    seconds: float

    @property
    def answered(self) -> int:
        return sum(outcome.requests for outcome in self.outcomes)

    @property
    def failures(self) -> list[str]:
        return [failure for outcome in self.outcomes for failure in outcome.failures]

    @property
    def growth(self) -> dict[str, float]:
        return {name: _growth(values) for name, values in self.memory_mb.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_market_arguments(parser)
    parser.add_argument("--requests", type=int, default=100_000, help="minimum number of requests")
    options = parser.parse_args()
    soak = _soak(options)
    _report(soak)
    is_flat = all(growth <= MAX_GROWTH for growth in soak.growth.values())
    return 0 if is_flat and not soak.failures and soak.answered >= options.requests else 1


def _soak(options: argparse.Namespace) -> Soak:
    with ExitStack() as stack:
        systems = start(options, stack, monoliths=())
        chain = systems[CHAIN]
        requests = _mix(chain.requests, systems[ENCODE].requests)
        started = time.monotonic()
        with _watched_memory(chain.processes) as memory_mb:
            outcomes = _drive(chain, requests, options.requests)
    # includes the stop of the services
    return Soak(outcomes, memory_mb, time.monotonic() - started)


def _mix(retrieves: Sequence[str], encodes: Sequence[str]) -> list[str]:
    """Replaces every fourth request with an /encode_buyer."""
    return [encodes[place % len(encodes)] if place % 4 == 3 else one for place, one in enumerate(retrieves)]


def _drive(chain: System, requests: Sequence[str], count: int) -> list[Outcome]:
    """Runs the load generator until the chain has answered `count` requests or one has failed."""
    outcomes: list[Outcome] = []
    while sum(one.requests for one in outcomes) < count and not any(one.failures for one in outcomes):
        outcomes.append(drive_in_process(chain.port, CLIENTS, _RUN_SECONDS, 0, requests))
    return outcomes


@contextmanager
def _watched_memory(processes: Mapping[str, int]) -> Iterator[dict[str, list[float]]]:
    """Yields a list per process, to which a thread adds the process's resident memory in MB once a second."""
    memory_mb: dict[str, list[float]] = {name: [] for name in processes}
    done = threading.Event()

    def watch() -> None:
        while True:
            for name, pid in processes.items():
                pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
                memory_mb[name].append(pages * _PAGE_MB)
            if done.wait(1.0):
                return

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield memory_mb
    finally:
        done.set()
        watcher.join()


def _growth(values: Sequence[float]) -> float:
    """By what share the mean memory of the last quarter exceeds that of the second quarter."""
    quarter = max(1, len(values) // 4)
    return statistics.fmean(values[-quarter:]) / statistics.fmean(values[quarter : 2 * quarter] or values) - 1


def _report(soak: Soak) -> None:
    print(f"{soak.answered} requests in {soak.seconds:.0f} s at {CLIENTS} clients, {len(soak.failures)} failed")
    for name, values in soak.memory_mb.items():
        ratio = f"last quarter / second quarter {1 + soak.growth[name]:.4f}"
        print(f"{name:<10} {values[0]:>8.1f} MB at the start, {values[-1]:>8.1f} MB at the end; {ratio}")
    summary = {
        "benchmark": "soak",
        "requests": soak.answered,
        "seconds": round(soak.seconds, 1),
        "failures": soak.failures[:3],
        "p99_ms": statistics.median(outcome.p99 for outcome in soak.outcomes),
        "growth": {name: round(growth, 4) for name, growth in soak.growth.items()},
        "memory_mb": {name: round(values[-1], 1) for name, values in soak.memory_mb.items()},
    }
    print(json.dumps(summary))


if __name__ == "__main__":
    sys.exit(main())
