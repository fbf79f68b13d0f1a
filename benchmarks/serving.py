"""The chain of services beside two monoliths that do the same work: requests per second, latency, CPU per request.

Usage:  make bench-serving [ARGS="--products 100000 --index HNSW32"]

Starts Redis, buyer_service, retrieval_service and the gateway as `make demo` does, and beside them monoliths: plain,
tuned, and tuned with two workers: the same version folder, the same Redis, the same load generator in a process
of its own on the same cores. They are driven in turn, at each number of clients, in three rounds, so that a slow moment
of the machine meets all of them; ratios are taken within a round. The item service is not started: neither measured
route calls it. The market is synthetic (see market.py). The last line is one JSON object. Linux.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from redis.asyncio import Redis

from benchmarks import market
from benchmarks.load import Outcome, get, post
from benchmarks.monolith import KEY_PREFIX
from demo.settings import DemoSettings
from demo.supervisor import children, redis_url
from twotower.history import read_recent

CLIENTS = (1, 16, 64)
K = 100
PLAIN, TUNED, TUNED_2 = "plain monolith", "tuned monolith", "tuned, 2 workers"
CHAIN, ENCODE = "chain", "chain /encode_buyer"
MONOLITHS = {PLAIN: ("plain", 1), TUNED: ("tuned", 1), TUNED_2: ("tuned", 2)}
# what the chain should reach: clients -> its requests per second over those of each monolith
GOALS = {16: {PLAIN: 2.5, TUNED: 1.1, TUNED_2: 0.6}, 64: {PLAIN: 4.0, TUNED: 2.0, TUNED_2: 1.0}}
_TICK_MS = 1000 / os.sysconf("SC_CLK_TCK")


class Target(NamedTuple):
    """Something to drive: its port, its requests, and its processes by name."""

    port: int
    requests: list[str]
    processes: dict[str, int]


class Measured(NamedTuple):
    """One run of the load generator, and each process's CPU milliseconds per request."""

    outcome: Outcome
    cpu: dict[str, float]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_market_arguments(parser)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=[], help="names of the systems to drive; default all")
    parser.add_argument("--svg", type=Path, help="where to draw latency against load (needs the extra `bench`)")
    options = parser.parse_args()
    with ExitStack() as stack:
        targets = start(options, stack)
        agreement = same_ids(targets[CHAIN].port, targets[TUNED].port, options.buyers)
        wanted = {name: target for name, target in targets.items() if not options.only or name in options.only}
        found: dict[tuple[str, int], list[Measured]] = {}
        for _ in range(options.rounds):
            for clients in CLIENTS:
                for name, target in wanted.items():
                    measured = drive(target, clients, options.seconds)
                    if measured.outcome.failures:
                        raise SystemExit(f"{name} at {clients} clients: {measured.outcome.failures[0]}")
                    found.setdefault((name, clients), []).append(measured)
    summary = report(found, list(wanted))
    if options.svg:
        draw(found, list(wanted), options.svg)
    sizes = {name: getattr(options, name) for name in ("products", "dimension", "buyers", "history", "index")}
    print(json.dumps({"benchmark": "serving", "synthetic": True, **sizes, "same_ids": agreement, **summary}))
    return 0


def add_market_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--products", type=int, default=5000)
    parser.add_argument("--dimension", type=int, default=384)
    parser.add_argument("--buyers", type=int, default=2000)
    parser.add_argument("--history", type=int, default=50, help="interactions of each buyer")
    parser.add_argument("--index", default="Flat", help="as FAISS's factory takes it: Flat, HNSW32, ...")
    parser.add_argument("--folder", type=Path, default=Path(".demo/bench"), help="for the market and the logs")


def start(
    options: argparse.Namespace, stack: ExitStack, monoliths: Sequence[str] = tuple(MONOLITHS)
) -> dict[str, Target]:
    """Everything that is driven, running and warm."""
    settings = settings_of(options.folder)
    size = market.Size(options.products, options.dimension, options.buyers, options.history, options.index)
    print(f"a synthetic market: {size.name}", flush=True)
    version = market.make(settings.artifacts, size)
    chain = stack.enter_context(services(settings))
    warm(settings)
    histories = dict(read_recent(version.layout.recent))
    asyncio.run(_fill_lists(redis_url(settings), histories))
    retrieves = [get(f"/retrieve?buyer_id={one}&k={K}") for one in histories]
    encodes = [post("/encode_buyer", _body(one, history)) for one, history in list(histories.items())[:500]]
    targets = {
        CHAIN: Target(settings.gateway_port, retrieves, chain),
        ENCODE: Target(settings.gateway_port, encodes, chain),
    }
    for name in monoliths:
        port, pid = stack.enter_context(monolith(*MONOLITHS[name], settings))
        targets[name] = Target(port, retrieves, {"monolith": pid, "redis": chain["redis"]})
    return targets


def settings_of(folder: Path) -> DemoSettings:
    """Settings of free ports; the folder for logs is made."""
    ports: dict[str, Any] = {f"{name}_port": free_port() for name in ("gateway", "item", "buyer", "retrieval", "redis")}
    settings = DemoSettings(folder=folder, **ports)
    settings.logs.mkdir(parents=True, exist_ok=True)
    return settings


@contextmanager
def services(settings: DemoSettings) -> Iterator[dict[str, int]]:
    """Redis, two services and the gateway, ready; yields each one's process id."""
    started = [child for child in children(settings) if child.name != "item"]
    try:
        for child in started:
            child.start(settings.logs)
        wait_for(settings.gateway_port, "/readyz", lambda answer: len(answer["degraded"]) == 1)
        yield {child.name: child.process.pid for child in started if child.process}
    finally:
        for child in reversed(started):
            if child.process:
                child.process.terminate()
                child.process.wait()


def warm(settings: DemoSettings) -> None:
    command = [sys.executable, "-m", "gateway.warm", "--artifacts", str(settings.artifacts)]
    subprocess.run([*command, "--redis", redis_url(settings)], check=True)


@contextmanager
def monolith(kind: str, workers: int, settings: DemoSettings) -> Iterator[tuple[int, int]]:
    """A monolith that answers; yields its port and process id."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.monolith", kind, "--port", str(port), "--workers", str(workers)]
    command += ["--artifacts", str(settings.artifacts), "--redis", redis_url(settings)]
    with (settings.logs / f"{kind}-{workers}.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        wait_for(port, f"/retrieve?buyer_id={market.buyer_id(0)}&k=1", lambda answer: True)
        yield port, process.pid
    finally:
        process.terminate()
        process.wait()


def wait_for(port: int, path: str, good: Callable[[dict[str, Any]], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    last = "no answer"
    while time.monotonic() < end:
        try:
            answer = ask(port, path)
            if good(answer):
                return
            last = str(answer)
        except OSError as error:
            last = str(error)
        time.sleep(0.1)
    raise SystemExit(f"port {port} is not ready after {seconds:.0f} s: {last}")


def ask(port: int, path: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


def same_ids(one: int, other: int, buyers: int) -> float:
    """Mean share of ids that two ports have in common; 1.0 where every answer holds the same products."""
    shares = []
    for buyer in range(min(buyers, 200)):
        path = f"/retrieve?buyer_id={market.buyer_id(buyer)}&k={K}"
        first, second = (set(ask(port, path)["product_ids"]) for port in (one, other))
        shares.append(len(first & second) / max(len(first), len(second)))
    mean = statistics.fmean(shares)
    print(f"same products in the answers of chain and monolith, {len(shares)} buyers: {mean:.4f}", flush=True)
    return mean


def drive(target: Target, clients: int, seconds: float, warmup: float = 0.5) -> Measured:
    """One run of the load generator in its own process."""
    before = {name: cpu_ms(pid) for name, pid in target.processes.items()}
    command = [sys.executable, "-m", "benchmarks.load", str(target.port), str(clients), str(seconds), str(warmup)]
    run = subprocess.run(
        command,
        input=json.dumps(target.requests),
        capture_output=True,
        text=True,
        check=False,
        timeout=60 + 3 * seconds,
    )
    if run.returncode:
        raise SystemExit(run.stderr)
    outcome = Outcome(**json.loads(run.stdout))
    cpu = {name: (cpu_ms(pid) - before[name]) / outcome.requests for name, pid in target.processes.items()}
    return Measured(outcome, cpu)


def cpu_ms(pid: int) -> float:
    """CPU milliseconds that a process and its present descendants have used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    own = (int(fields[11]) + int(fields[12])) * _TICK_MS
    return own + sum(cpu_ms(child) for child in descendants(pid))


def descendants(pid: int) -> list[int]:
    """Direct children of a process."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            found += [int(child) for child in (task / "children").read_text().split()]
        except FileNotFoundError:
            continue  # a thread that has ended in the meantime
    return found


def report(found: dict[tuple[str, int], list[Measured]], names: Sequence[str]) -> dict[str, Any]:
    """Prints the table and the ratios, and returns both."""
    print(f"\n{'':<22}{'clients':>8}{'req/s':>8}{'p50 ms':>9}{'p99 ms':>9}   CPU ms per request, by process")
    rows = []
    for clients in CLIENTS:
        for name in names:
            runs = found[name, clients]
            rate, p50, p99 = (_median(getattr(one.outcome, field) for one in runs) for field in ("rate", "p50", "p99"))
            cpu = {one: round(_median(run.cpu[one] for run in runs), 3) for one in runs[0].cpu}
            cpu["load"] = round(_median(run.outcome.cpu_ms for run in runs), 3)
            shown = "  ".join(f"{one} {value:.2f}" for one, value in cpu.items())
            total = sum(cpu.values()) - cpu["load"]
            print(f"{name:<22}{clients:>8}{rate:>8.0f}{p50:>9.2f}{p99:>9.2f}   {total:.2f} = {shown}")
            rows.append({"name": name, "clients": clients, "rate": rate, "p50": p50, "p99": p99, "cpu_ms": cpu})
    print("\nchain over each monolith, within a round: median (least to most)")
    ratios = []
    for clients in CLIENTS:
        for name in MONOLITHS:
            if name not in names or CHAIN not in names:
                continue
            one: dict[str, Any] = {"clients": clients, "against": name}
            pairs = list(zip(found[CHAIN, clients], found[name, clients], strict=True))
            for field in ("rate", "p50", "p99"):
                values = sorted(getattr(a.outcome, field) / getattr(b.outcome, field) for a, b in pairs)
                one[field] = [round(value, 3) for value in (statistics.median(values), values[0], values[-1])]
            goal = GOALS.get(clients, {}).get(name)
            wanted = "" if goal is None else f"   wanted {goal}: {'yes' if one['rate'][0] >= goal else 'NO'}"
            shown = "   ".join(
                f"{f} {one[f][0]:.2f} ({one[f][1]:.2f} to {one[f][2]:.2f})" for f in ("rate", "p50", "p99")
            )
            print(f"{clients:>3} clients, {name:<18} {shown}{wanted}")
            ratios.append(one)
    return {"rows": rows, "ratios": ratios}


def _median(values: Iterator[float]) -> float:
    return statistics.median(values)


def draw(found: dict[tuple[str, int], list[Measured]], names: Sequence[str], path: Path) -> None:
    """p99 against requests per second, one line per system, a point per number of clients."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "twotower"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.2))
    for name in names:
        points = []
        for clients in CLIENTS:
            runs = found[name, clients]
            points.append((_median(one.outcome.rate for one in runs), _median(one.outcome.p99 for one in runs)))
        axes.plot(*zip(*points, strict=True), marker="o", label=name)
        for clients, (rate, p99) in zip(CLIENTS, points, strict=True):
            axes.annotate(str(clients), (rate, p99), textcoords="offset points", xytext=(4, 4), fontsize=8)
    axes.set(xlabel="requests per second (1, 16, 64 clients)", ylabel="p99, ms", yscale="log", xlim=(0, None))
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize=8)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})


async def _fill_lists(url: str, histories: Mapping[str, Sequence[Any]]) -> None:
    client = Redis.from_url(url)
    pipeline = client.pipeline(transaction=False)
    for buyer, history in histories.items():
        pipeline.delete(KEY_PREFIX + buyer)
        pipeline.rpush(KEY_PREFIX + buyer, *(f"{one[0]}\0{one[1]}\0{one[2]}" for one in history))
    await pipeline.execute()
    await client.aclose()


def _body(buyer: str, history: Sequence[Any]) -> str:
    rows = [{"product_id": one[0], "event_type": one[1], "timestamp": str(one[2])} for one in history]
    return json.dumps({"buyer_id": buyer, "recent_interactions": rows})


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    sys.exit(main())
