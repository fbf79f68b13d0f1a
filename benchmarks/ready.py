"""How long a service takes from its start until its health check says SERVING.

Usage:  make bench-ready [ARGS="--products 100000 --index HNSW32 --rounds 5"]

In this time a service copies the files that it opens, hashes them, loads the version and warms it up. Starts each
service alone, several times, as `make demo` starts it. The market is synthetic (see market.py). The first start makes
the copies. Later ones find them in the page cache, as a container does that restarts, so the medians leave the first
start out. The last line is one JSON object. Linux.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import time

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from benchmarks import market, systems
from benchmarks.processes import cpu_ms, running
from demo.settings import DemoSettings
from demo.supervisor import children

GOAL_SECONDS = 3.0
_TIMEOUT_SECONDS = 60


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    systems.add_market_arguments(parser)
    parser.set_defaults(products=100_000)
    parser.add_argument("--rounds", type=int, default=5, help="starts per service, after the first")
    options = parser.parse_args()
    # no Redis runs here, for which a service with a live catalogue would wait
    settings = systems.settings_with_free_ports(options.folder).model_copy(update={"live_catalogue": False})
    size = systems.market_size(options)
    print(f"synthetic market {size.name}", flush=True)
    market.make(settings.artifacts, size)
    results = {name: _measure(settings, name, options.rounds) for name in ("retrieval", "buyer")}
    is_reached = results["retrieval"]["seconds"] <= GOAL_SECONDS
    print(f"retrieval is ready within {GOAL_SECONDS:g} s: {'yes' if is_reached else 'NO'}")
    print(json.dumps({"benchmark": "ready", "products": options.products, "index": options.index, **results}))
    return 0


def _measure(settings: DemoSettings, name: str, rounds: int) -> dict[str, float]:
    """Starts a service `1 + rounds` times; the medians leave the first start out."""
    shutil.rmtree(settings.cache, ignore_errors=True)
    (first_seconds, _), *starts = [_start(settings, name) for _ in range(1 + rounds)]
    seconds, cpu_seconds = (statistics.median(values) for values in zip(*starts, strict=True))
    print(
        f"{name:<10} ready after {seconds:.2f} s, with {cpu_seconds:.2f} s of CPU (first start {first_seconds:.2f} s)",
        flush=True,
    )
    return {"seconds": seconds, "cpu_seconds": cpu_seconds, "first_seconds": first_seconds}


def _start(settings: DemoSettings, name: str) -> tuple[float, float]:
    """Starts a service, waits until it is ready, and stops it. Returns seconds and CPU seconds until it was ready."""
    child = next(one for one in children(settings) if one.name == name)
    started = time.monotonic()
    with running([child], settings.logs) as pids:
        with grpc.insecure_channel(f"127.0.0.1:{child.port}", [("grpc.max_reconnect_backoff_ms", 20)]) as channel:
            checks = health_pb2_grpc.HealthStub(channel)
            while time.monotonic() < started + _TIMEOUT_SECONDS:
                try:
                    answer = checks.Check(health_pb2.HealthCheckRequest(), timeout=1)
                    if answer.status == health_pb2.HealthCheckResponse.SERVING:
                        return time.monotonic() - started, cpu_ms(pids[name]) / 1000
                except grpc.RpcError:
                    pass  # it does not listen yet
                time.sleep(0.01)
        raise SystemExit(f"{name} is not ready after {_TIMEOUT_SECONDS} s: see its log in {settings.logs}")


if __name__ == "__main__":
    sys.exit(main())
