"""The chain of services compared with two monoliths that do the same work: throughput, latency, CPU per request.

Usage:  make bench-serving [ARGS="--products 100000 --index HNSW32"]

Starts Redis, buyer_service, retrieval_service, the recorder and the gateway as `make demo` does, a second gateway that
logs no events, a third that answers by an experiment of two equal arms, and three monoliths: plain, tuned, and tuned
with two workers. All use the same version folder, Redis and load generator, which runs in a process of its own on the
same cores. The systems are driven in turn, at each number of clients, in several rounds, so that a slow moment of the
machine affects all of them. Ratios compare runs of one round. The item service is not started, because neither measured
route calls it. The market is synthetic (see market.py). The last line is one JSON object. Linux.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from benchmarks import market
from benchmarks.charts import open_pyplot, save_figure
from benchmarks.load import Outcome, drive_in_process
from benchmarks.processes import cpu_ms, get_json
from benchmarks.systems import (
    CHAIN,
    ENCODE,
    EXPERIMENT,
    MONOLITHS,
    PLAIN,
    TUNED,
    TUNED_2,
    UNLOGGED,
    UNLOGGED_ENCODE,
    K,
    System,
    add_market_arguments,
    start,
)

CLIENTS = (1, 16, 64)
WARMUP_SECONDS = 0.5
# clients -> minimum of the chain's throughput, as a multiple of each other system's; with an experiment, of the chain's
GOALS = {
    16: {PLAIN: 2.5, TUNED: 1.1, TUNED_2: 0.6},
    64: {PLAIN: 4.0, TUNED: 2.0, TUNED_2: 1.0, UNLOGGED: 0.93, UNLOGGED_ENCODE: 0.93, CHAIN: 0.93},
}
COMPARED = (*((CHAIN, name) for name in MONOLITHS), (CHAIN, UNLOGGED), (ENCODE, UNLOGGED_ENCODE), (EXPERIMENT, CHAIN))
RATIOS = ("rate", "p50", "p99")


class Measurement(NamedTuple):
    """One run of the load generator, and the CPU milliseconds per request of each process."""

    outcome: Outcome
    cpu_ms: dict[str, float]


# (system, clients) -> one measurement per round
Measurements: TypeAlias = Mapping[tuple[str, int], Sequence[Measurement]]


def main() -> int:
    options = _parser().parse_args()
    with ExitStack() as stack:
        systems = start(options, stack)
        same_ids = _share_of_same_ids(systems[CHAIN].port, systems[TUNED].port, options.buyers)
        driven = {name: system for name, system in systems.items() if not options.only or name in options.only}
        measurements = _measure(driven, options.rounds, options.seconds)
    summary = {
        "rows": _report_systems(measurements, list(driven)),
        "ratios": _report_ratios(measurements, list(driven)),
    }
    if options.svg:
        _draw(measurements, list(driven), options.svg)
    named = ("products", "dimension", "buyers", "history", "index", "neighbours")
    sizes = {name: getattr(options, name) for name in named}
    print(json.dumps({"benchmark": "serving", "synthetic": True, **sizes, "same_ids": same_ids, **summary}))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_market_arguments(parser)
    parser.add_argument("--seconds", type=float, default=3.0, help="length of each run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=[], help="names of the systems to drive; default: all")
    parser.add_argument("--svg", type=Path, help="file for a chart of latency against load (needs the extra `bench`)")
    return parser


def _share_of_same_ids(one: int, other: int, buyers: int) -> float:
    """Mean share of products that the answers of two ports have in common; 1.0 if all answers hold the same."""
    shares = []
    for buyer in range(min(buyers, 200)):
        path = f"/retrieve?buyer_id={market.buyer_id(buyer)}&k={K}"
        first, second = (set(get_json(port, path)["product_ids"]) for port in (one, other))
        shares.append(len(first & second) / max(len(first), len(second)))
    mean = statistics.fmean(shares)
    print(f"share of products that chain and monolith both return, over {len(shares)} buyers: {mean:.4f}", flush=True)
    return mean


def _measure(systems: Mapping[str, System], rounds: int, seconds: float) -> Measurements:
    """Drives every system at every number of clients, in turn. Raises SystemExit if a request fails."""
    measurements: dict[tuple[str, int], list[Measurement]] = {}
    for _ in range(rounds):
        for clients in CLIENTS:
            for name, system in systems.items():
                measurement = _drive(system, clients, seconds)
                if measurement.outcome.failures:
                    raise SystemExit(f"{name} with {clients} clients failed: {measurement.outcome.failures[0]}")
                measurements.setdefault((name, clients), []).append(measurement)
    return measurements


def _drive(system: System, clients: int, seconds: float) -> Measurement:
    before = {name: cpu_ms(pid) for name, pid in system.processes.items()}
    outcome = drive_in_process(system.port, clients, seconds, WARMUP_SECONDS, system.requests)
    cpu = {name: (cpu_ms(pid) - before[name]) / outcome.requests for name, pid in system.processes.items()}
    return Measurement(outcome, cpu)


def _report_systems(measurements: Measurements, names: Sequence[str]) -> list[dict[str, Any]]:
    """Prints the medians of every system and returns them."""
    print(f"\n{'':<22}{'clients':>8}{'req/s':>8}{'p50 ms':>9}{'p99 ms':>9}   CPU ms per request = sum over processes")
    rows = []
    for clients in CLIENTS:
        for name in names:
            runs = measurements[name, clients]
            rate, p50, p99 = (_median_of(runs, field) for field in ("rate", "p50", "p99"))
            cpu = {
                process: round(statistics.median(run.cpu_ms[process] for run in runs), 3) for process in runs[0].cpu_ms
            }
            cpu["load"] = round(_median_of(runs, "cpu_ms"), 3)
            by_process = "  ".join(f"{process} {value:.2f}" for process, value in cpu.items())
            total = sum(cpu.values()) - cpu["load"]
            print(f"{name:<22}{clients:>8}{rate:>8.0f}{p50:>9.2f}{p99:>9.2f}   {total:.2f} = {by_process}")
            rows.append({"name": name, "clients": clients, "rate": rate, "p50": p50, "p99": p99, "cpu_ms": cpu})
    print("(load is the load generator; the sum leaves it out)")
    return rows


def _report_ratios(measurements: Measurements, names: Sequence[str]) -> list[dict[str, Any]]:
    """Prints the chain's figures divided by the others' and returns them: median, minimum, maximum over rounds."""
    print("\none system divided by another, within a round: median (minimum to maximum)")
    rows = []
    for clients in CLIENTS:
        for chain, name in COMPARED:
            if name not in names or chain not in names:
                continue
            pairs = list(zip(measurements[chain, clients], measurements[name, clients], strict=True))
            row: dict[str, Any] = {"clients": clients, "against": name}
            for field in RATIOS:
                values = sorted(getattr(a.outcome, field) / getattr(b.outcome, field) for a, b in pairs)
                row[field] = [round(value, 3) for value in (statistics.median(values), values[0], values[-1])]
            shown = "   ".join(
                f"{field} {median:.2f} ({low:.2f} to {high:.2f})"
                for field, (median, low, high) in ((field, row[field]) for field in RATIOS)
            )
            print(f"{clients:>3} clients, {chain} / {name:<18} {shown}{_goal(clients, name, row['rate'][0])}")
            rows.append(row)
    return rows


def _goal(clients: int, monolith: str, ratio: float) -> str:
    goal = GOALS.get(clients, {}).get(monolith)
    if goal is None:
        return ""
    return f"   rate of at least {goal}: {'yes' if ratio >= goal else 'NO'}"


def _median_of(runs: Sequence[Measurement], field: str) -> float:
    return statistics.median(getattr(run.outcome, field) for run in runs)


def _draw(measurements: Measurements, names: Sequence[str], path: Path) -> None:
    """Draws p99 against requests per second: one line per system, one point per number of clients."""
    figure, axes = open_pyplot().subplots(figsize=(7, 4.2))
    for name in names:
        points = []
        for clients in CLIENTS:
            runs = measurements[name, clients]
            points.append((_median_of(runs, "rate"), _median_of(runs, "p99")))
        axes.plot(*zip(*points, strict=True), marker="o", label=name)
        for clients, point in zip(CLIENTS, points, strict=True):
            axes.annotate(str(clients), point, textcoords="offset points", xytext=(4, 4), fontsize=8)
    axes.set(xlabel="requests per second (1, 16, 64 clients)", ylabel="p99, ms", yscale="log", xlim=(0, None))
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize=8)
    save_figure(figure, path)


if __name__ == "__main__":
    sys.exit(main())
