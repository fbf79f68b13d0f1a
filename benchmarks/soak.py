"""Many requests at 64 clients: every answer must be good and the memory of every process flat.

Usage:  make soak [ARGS="--requests 1000000"]

Three quarters of the requests are GET /retrieve, one quarter POST /encode_buyer, which writes to Redis. The resident
memory of every process is read once a second; the mean of the last quarter of the run must lie within 5 % of that of
the second quarter. The market is synthetic. Exit code 1 where a request fails or memory grows. The last line is one
JSON object. Linux.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

from benchmarks import serving
from benchmarks.load import Outcome

CLIENTS = 64
GROWTH = 0.05
_PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    serving.add_market_arguments(parser)
    parser.add_argument("--requests", type=int, default=100_000)
    options = parser.parse_args()
    with ExitStack() as stack:
        targets = serving.start(options, stack, monoliths=())
        chain = targets[serving.CHAIN]
        retrieves, encodes = chain.requests, targets[serving.ENCODE].requests
        mixed = [encodes[place % len(encodes)] if place % 4 == 3 else one for place, one in enumerate(retrieves)]
        samples: dict[str, list[float]] = {name: [] for name in chain.processes}
        done = threading.Event()
        watcher = threading.Thread(target=_watch, args=(chain.processes, samples, done))
        watcher.start()
        started = time.monotonic()
        try:
            outcomes = _drive(chain.port, mixed, options.requests)
        finally:
            done.set()
            watcher.join()
    seconds = time.monotonic() - started
    answered = sum(one.requests for one in outcomes)
    failures = [failure for one in outcomes for failure in one.failures]
    growth = {name: _growth(values) for name, values in samples.items()}
    print(f"{answered} requests in {seconds:.0f} s at {CLIENTS} clients, {len(failures)} failed")
    for name, values in samples.items():
        print(f"{name:<10} {values[0]:>8.1f} MB at first, {values[-1]:>8.1f} at last; last quarter over second "
              f"{1 + growth[name]:.4f}")  # fmt: skip
    flat = all(one <= GROWTH for one in growth.values())
    print(
        json.dumps(
            {
                "benchmark": "soak",
                "requests": answered,
                "seconds": round(seconds, 1),
                "failures": failures[:3],
                "p99_ms": statistics.median(one.p99 for one in outcomes),
                "growth": {name: round(one, 4) for name, one in growth.items()},
                "memory_mb": {name: round(values[-1], 1) for name, values in samples.items()},
            }
        )
    )
    return 0 if flat and not failures and answered >= options.requests else 1


def _drive(port: int, requests: list[str], wanted: int) -> list[Outcome]:
    """Runs of the load generator of ten seconds each until so many requests are answered or one fails."""
    outcomes: list[Outcome] = []
    text = json.dumps(requests)
    while sum(one.requests for one in outcomes) < wanted and not any(one.failures for one in outcomes):
        command = [sys.executable, "-m", "benchmarks.load", str(port), str(CLIENTS), "10", "0"]
        run = subprocess.run(command, input=text, capture_output=True, text=True, check=True, timeout=120)
        outcomes.append(Outcome(**json.loads(run.stdout)))
    return outcomes


def _watch(processes: dict[str, int], samples: dict[str, list[float]], done: threading.Event) -> None:
    while True:
        for name, pid in processes.items():
            pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
            samples[name].append(pages * _PAGE_MB)
        if done.wait(1.0):
            return


def _growth(values: list[float]) -> float:
    """How much more memory the last quarter had than the second, as a share of the second's."""
    quarter = max(1, len(values) // 4)
    return statistics.fmean(values[-quarter:]) / statistics.fmean(values[quarter : 2 * quarter] or values) - 1


if __name__ == "__main__":
    sys.exit(main())
