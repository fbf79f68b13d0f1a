"""What rules cost: lists of a slot with fifty rules beside lists of a slot without any, on the same gateway.

Usage:  make bench-rules [ARGS="--products 100000 --index HNSW32 --k 10"]

Starts Redis, buyer_service, retrieval_service and the gateway as `make demo` does, and puts fifty rules of all kinds
in force by PUT /rules. `home` has all fifty, `fifth` has ten of them (each kind once or twice), `plain` has none. Each
slot is asked for the same lists in turn, at each number of clients, in several rounds; ratios compare runs of one
round. `no_repeats` reads and writes Redis at each list, so the slots are measured with it and without. The market is
synthetic (see market.py). The exit code is 1 if lists of `home` without `no_repeats` take more than 1.15 x the time of
those of `plain` at the last number of clients (64). The last line is one JSON object. Linux.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import urllib.request
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from benchmarks import market
from benchmarks.load import Outcome, drive_in_process, get
from benchmarks.processes import cpu_ms, get_json
from benchmarks.systems import CHAIN, System, add_market_arguments, start

MAX_RATIO = 1.15
CLIENTS = (1, 16, 64)
_WARMUP_SECONDS = 0.5
_PLAIN = "plain"
Run = tuple[Outcome, dict[str, float]]
_SLOTS = (_PLAIN, "fifth", "home", "fifth-rotating", "home-rotating")


def main() -> int:
    options = _parser().parse_args()
    with ExitStack() as stack:
        system = start(options, stack, monoliths=())[CHAIN]
        _put(system.port, _rules(options.products))
        _check(system.port, options.k)
        runs = _measure(system, options)
    rows = _report(runs)
    named = ("products", "dimension", "buyers", "history", "index", "neighbours", "k")
    sizes = {name: getattr(options, name) for name in named}
    print(json.dumps({"benchmark": "rules", "synthetic": True, **sizes, "rows": rows}))
    ratio = next(row["p50"][0] for row in rows if (row["slot"], row["clients"]) == ("home", options.clients[-1]))
    print(f"fifty rules at {options.clients[-1]} clients: {ratio:.2f} x the time without; the limit is {MAX_RATIO}")
    return int(ratio > MAX_RATIO)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_market_arguments(parser)
    parser.add_argument("--k", type=int, default=100, help="products of a list")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of each run")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clients", type=int, nargs="*", default=CLIENTS)
    return parser


def _rules(products: int) -> list[dict[str, Any]]:
    """Fifty rules of one slot; each fifth acts in a second slot too."""

    def brand(number: int) -> str:
        return f'brand = "علامة {number % 50}"'

    kinds: list[dict[str, Any]] = [
        *({"do": "exclude", "when": f"{brand(n)} and price < {20 + n}"} for n in range(12)),
        *({"do": "boost", "when": f"{brand(20 + n)} or in_stock = true and price > {400 + n}"} for n in range(12)),
        *({"do": "bury", "when": f"{brand(40 + n)} and not (in_stock = true)"} for n in range(8)),
        *({"do": "pin", "product_id": market.product_id(n * products // 5), "place": 3 + 4 * n} for n in range(4)),
        *({"do": "include", "when": brand(60 + n), "n": 1} for n in range(3)),
        *({"do": "at_most", "field": "brand", "n": 5 + n, "when": brand(n)} for n in range(5)),
        *({"do": "price_range", "min": 5, "max": 900, "when": brand(70 + n)} for n in range(4)),
        *(
            {"do": "pin", "product_id": market.product_id(1), "place": 1, "when": f"buyer.events > {900 + n}"}
            for n in range(2)
        ),
    ]
    slots = [["home", "home-rotating", *(["fifth", "fifth-rotating"] if place % 5 == 0 else [])] for place in range(50)]
    found = [{"name": f"rule {place}", "slot": slots[place], **one} for place, one in enumerate(kinds)]
    return [*found, {"name": "rotation", "slot": ["home-rotating", "fifth-rotating"], "do": "no_repeats", "hours": 1}]


def _put(port: int, rules: Sequence[dict[str, Any]]) -> None:
    url, headers = f"http://127.0.0.1:{port}/rules", {"Content-Type": "application/json"}
    body = json.dumps({"rules": rules, "version": get_json(port, "/rules")["version"]}).encode()
    with urllib.request.urlopen(urllib.request.Request(url, body, headers, method="PUT"), timeout=60) as answer:
        found = json.load(answer)
    print(f"{len(found['rules'])} rules, {len(found['warnings'])} warnings", flush=True)


def _check(port: int, k: int) -> None:
    """The lists differ, so that something is measured."""
    path = f"/retrieve?buyer_id={market.buyer_id(0)}&k={k}&slot="
    lists = {slot: get_json(port, path + slot)["product_ids"] for slot in _SLOTS}
    if lists["home"] == lists[_PLAIN] or len(lists["home"]) != k:
        raise SystemExit("the rules change nothing")


def _measure(system: System, options: argparse.Namespace) -> dict[tuple[str, int], list[Run]]:
    runs: dict[tuple[str, int], list[Run]] = {}
    for number in range(options.rounds):
        for clients in options.clients:
            # whoever comes first in one round comes last in the next
            for slot in _SLOTS[:: -1 if number % 2 else 1]:
                paths = [f"/retrieve?buyer_id={market.buyer_id(one)}&k={options.k}" for one in range(options.buyers)]
                requests = [get(f"{path}&slot={slot}") for path in paths]
                before = {name: cpu_ms(pid) for name, pid in system.processes.items()}
                outcome = drive_in_process(system.port, clients, options.seconds, _WARMUP_SECONDS, requests)
                if outcome.failures:
                    raise SystemExit(f"{slot} with {clients} clients failed: {outcome.failures[0]}")
                spent = {name: cpu_ms(pid) - before[name] for name, pid in system.processes.items()}
                cpu = {name: one / outcome.requests for name, one in spent.items()}
                runs.setdefault((slot, clients), []).append((outcome, cpu))
    return runs


def _report(runs: dict[tuple[str, int], list[Run]]) -> list[dict[str, Any]]:
    """Prints and returns medians, and what they are as a multiple of those without rules: median and range."""
    rows = []
    for (slot, clients), own in runs.items():
        plain = runs[_PLAIN, clients]
        row: dict[str, Any] = {
            "slot": slot,
            "clients": clients,
            "rate": statistics.median(outcome.rate for outcome, _ in own),
            "p50_ms": statistics.median(outcome.p50 for outcome, _ in own),
            "cpu_ms": {name: round(statistics.median(cpu[name] for _, cpu in own), 3) for name in own[0][1]},
        }
        for field in ("p50", "p99"):
            values = sorted(getattr(a, field) / getattr(b, field) for (a, _), (b, _) in zip(own, plain, strict=True))
            row[field] = [round(value, 3) for value in (statistics.median(values), values[0], values[-1])]
        ratios = "   ".join(
            f"{name} x {row[name][0]:.2f} ({row[name][1]:.2f} to {row[name][2]:.2f})" for name in ("p50", "p99")
        )
        print(
            f"{clients:>3} clients {slot:<15}{row['rate']:>7.0f}/s{row['p50_ms']:>8.2f} ms"
            f"{sum(row['cpu_ms'].values()):>7.2f} CPU ms   {ratios}\n"
            f"{'':<20}{'  '.join(f'{name} {ms:.2f}' for name, ms in row['cpu_ms'].items())}"
        )
        rows.append(row)
    return rows


if __name__ == "__main__":
    sys.exit(main())
