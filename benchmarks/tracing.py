"""What traces cost: the chain with 1 % of its requests traced, compared with the same chain without an endpoint.

Usage:  make bench-tracing [ARGS="--sampling 1 --rounds 9 --before FOLDER"]

Starts Redis and a collector, and for each system a buyer service, a retrieval service and a gateway of its own, which
logs no events. `off` and `off again` are the same, so that their ratio shows what the machine itself varies by. With
`--before`, one more chain runs the code of another checkout. The systems are driven in turn, in an order that changes
from round to round. Ratios compare runs of one round. The last line is one JSON object. Linux.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc

from benchmarks import market
from benchmarks.load import drive_in_process, get
from benchmarks.processes import cpu_ms, free_port, running, wait_for_answer
from benchmarks.systems import add_market_arguments, market_size, settings_with_free_ports
from demo.settings import DemoSettings
from demo.supervisor import Child, children, redis_url

CLIENTS = (16, 64)
FIELDS = ("rate", "p99", "cpu")
OFF, AGAIN, ON, BEFORE = "off", "off again", "on", "before"
_WARMUP_SECONDS = 0.5
_EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


def main() -> int:
    options = _parser().parse_args()
    if options.collect:
        _collect(options.collect)
    with ExitStack() as stack:
        ports, pids = _start(options, stack)
        requests = [get(f"/retrieve?buyer_id={market.buyer_id(buyer)}&k=100") for buyer in range(options.buyers)]
        runs: dict[tuple[str, int], list[dict[str, float]]] = {}
        names = list(ports)
        for number in range(options.rounds):
            for clients in CLIENTS:
                for name in names[number % len(names) :] + names[: number % len(names)]:
                    run = _drive(ports[name], pids[name], clients, options.seconds, requests)
                    runs.setdefault((name, clients), []).append(run)
    rows = _report(runs, [name for name in names if name != OFF], options.sampling)
    print(json.dumps({"benchmark": "tracing", "synthetic": True, "sampling": options.sampling, "rows": rows}))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_market_arguments(parser)
    parser.add_argument("--seconds", type=float, default=3.0, help="length of each run")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--sampling", type=float, default=0.01, help="share of the requests that are traced")
    parser.add_argument("--before", type=Path, help="another checkout, whose code runs as one more chain")
    parser.add_argument("--collect", type=int, default=0, help=argparse.SUPPRESS)
    return parser


def _start(options: argparse.Namespace, stack: ExitStack) -> tuple[dict[str, int], dict[str, list[int]]]:
    """The gateways' ports and the processes' ids, by system."""
    settings = settings_with_free_ports(options.folder).model_copy(update={"event_log": False, "live_catalogue": False})
    market.make(settings.artifacts, market_size(options))
    stack.enter_context(_running([child for child in children(settings) if child.name == "redis"], settings, {}))
    warm = [sys.executable, "-m", "gateway.warm", "--artifacts", str(settings.artifacts)]
    subprocess.run([*warm, "--redis", redis_url(settings)], check=True)
    collector = stack.enter_context(_collecting())
    environs: dict[str, Mapping[str, str]] = {OFF: {}, AGAIN: {}}
    environs[ON] = {"TWOTOWER_OTLP_ENDPOINT": collector, "TWOTOWER_TRACE_SAMPLING": str(options.sampling)}
    if options.before:
        environs[BEFORE] = {"PYTHONPATH": str(options.before.resolve())}
    ports, pids = {}, {}
    for name, environ in environs.items():
        own = {f"{one}_port": free_port() for one in ("gateway", "buyer", "retrieval")}
        chain = settings.model_copy(update={**own, "redis_url": redis_url(settings)})
        started = [child for child in children(chain) if child.name in ("buyer", "retrieval", "gateway")]
        pids[name] = stack.enter_context(_running(started, chain, environ))
        ports[name] = chain.gateway_port
        wait_for_answer(chain.gateway_port, "/readyz", lambda answer: len(answer["degraded"]) == 1)
    return ports, pids


@contextmanager
def _running(started: Sequence[Child], settings: DemoSettings, environ: Mapping[str, str]) -> Iterator[list[int]]:
    for child in started:
        child.environ = {**child.environ, **environ}
    with running(started, settings.logs) as pids:
        yield list(pids.values())


@contextmanager
def _collecting() -> Iterator[str]:
    """A collector in a process of its own; yields its address."""
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.tracing", "--collect", str(port)])
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def _collect(port: int) -> None:
    """Answers every export, and decodes none: a real collector runs on another machine."""
    accept = grpc.unary_unary_rpc_method_handler(lambda request, context: b"")
    server = grpc.server(ThreadPoolExecutor(1))
    service, _, method = _EXPORT[1:].rpartition("/")
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: accept}),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(0.5)
    sys.exit(0)


def _drive(port: int, pids: Sequence[int], clients: int, seconds: float, requests: Sequence[str]) -> dict[str, float]:
    before = sum(map(cpu_ms, pids))
    outcome = drive_in_process(port, clients, seconds, _WARMUP_SECONDS, requests)
    if outcome.failures:
        raise SystemExit(f"port {port} with {clients} clients failed: {outcome.failures[0]}")
    return {"rate": outcome.rate, "p99": outcome.p99, "cpu": (sum(map(cpu_ms, pids)) - before) / outcome.requests}


def _report(
    runs: Mapping[tuple[str, int], Sequence[Mapping[str, float]]], names: Sequence[str], sampling: float
) -> list[dict[str, Any]]:
    """Prints each system's figures divided by those of `off`, and returns them: median, minimum, maximum."""
    print(f"divided by `off` of the same round, {sampling:.0%} of the requests traced: median (minimum to maximum)")
    rows = []
    for clients in CLIENTS:
        rate = statistics.median(one["rate"] for one in runs[OFF, clients])
        print(f"{clients:>3} clients, off: {rate:.0f} requests/s")
        for name in names:
            row: dict[str, Any] = {"clients": clients, "name": name}
            for field in FIELDS:
                pairs = zip(runs[name, clients], runs[OFF, clients], strict=True)
                ratios = sorted(one[field] / off[field] for one, off in pairs)
                row[field] = [round(value, 3) for value in (statistics.median(ratios), ratios[0], ratios[-1])]
            shown = "   ".join("{} {:.3f} ({:.3f} to {:.3f})".format(field, *row[field]) for field in FIELDS)
            print(f"{clients:>3} clients, {name:<10} {shown}")
            rows.append(row)
    return rows


if __name__ == "__main__":
    sys.exit(main())
