"""From the start of a service to its health saying SERVING: every file hashed, the version loaded and warmed.

Usage:  python -m benchmarks.ready [--products 100000] [--index Flat] [--rounds 5]

Each service is started alone, several times, as `make demo` starts it; the market is synthetic (see market.py). Files
are in the page cache after the first round, as they are where a container is restarted; the first round is shown apart.
The last line is one JSON object. Linux.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from benchmarks import market, serving
from demo.settings import DemoSettings
from demo.supervisor import children

LIMIT = 3.0
_PATIENCE = 60


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    serving.add_market_arguments(parser)
    parser.set_defaults(products=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    settings = serving.settings_of(options.folder)
    size = market.Size(options.products, options.dimension, options.buyers, options.history, options.index)
    print(f"a synthetic market: {size.name}", flush=True)
    market.make(settings.artifacts, size)
    found: dict[str, dict[str, float]] = {}
    for name in ("retrieval", "buyer"):
        times = [_start(settings, name) for _ in range(1 + options.rounds)]
        first, (seconds, cpu) = times[0][0], (statistics.median(values) for values in zip(*times[1:], strict=True))
        found[name] = {"seconds": seconds, "cpu_seconds": cpu, "first_seconds": first}
        print(f"{name:<10} {seconds:.2f} s to ready, {cpu:.2f} s of CPU (the first time {first:.2f} s)", flush=True)
    good = found["retrieval"]["seconds"] <= LIMIT
    print(f"retrieval within {LIMIT:g} s: {'yes' if good else 'NO'}")
    print(json.dumps({"benchmark": "ready", "products": options.products, "index": options.index, **found}))
    return 0


def _start(settings: DemoSettings, name: str) -> tuple[float, float]:
    """Seconds, and seconds of CPU, until one service is ready; it is stopped then."""
    child = next(one for one in children(settings) if one.name == name)
    started = time.monotonic()
    child.start(settings.logs)
    assert child.process
    try:
        port = {"buyer": settings.buyer_port, "retrieval": settings.retrieval_port}[name]
        with grpc.insecure_channel(f"127.0.0.1:{port}", [("grpc.max_reconnect_backoff_ms", 20)]) as channel:
            checks = health_pb2_grpc.HealthStub(channel)
            while time.monotonic() < started + _PATIENCE:
                try:
                    answer = checks.Check(health_pb2.HealthCheckRequest(), timeout=1)
                    if answer.status == health_pb2.HealthCheckResponse.SERVING:
                        return time.monotonic() - started, serving.cpu_ms(child.process.pid) / 1000
                except grpc.RpcError:
                    pass  # it does not listen yet
                time.sleep(0.01)
        raise SystemExit(f"{name} is not ready after {_PATIENCE} s, see {settings.logs}")
    finally:
        child.process.terminate()
        child.process.wait()


if __name__ == "__main__":
    raise SystemExit(main())
