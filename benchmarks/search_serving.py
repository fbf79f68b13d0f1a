"""Drives the /search of two running gateways in turn, and compares them: p50 with one client, requests a second at 64.

Usage:  python -m benchmarks.search_serving PORT OTHER_PORT --products products.csv [--rounds 5] [--seconds 3]

The searches are two or three words of the market's titles, side by side; no run repeats one if there are as many as it
sends (`--searches`). Ratios compare runs of one round. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import statistics
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from benchmarks.load import drive_in_process, get

CLIENTS = (1, 16, 64)
_K, _WARMUP = 10, 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ports", type=int, nargs=2, help="ports of the two gateways on 127.0.0.1")
    parser.add_argument("--products", type=Path, required=True, help="products of the market that both serve")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="length of each run")
    parser.add_argument("--searches", type=int, default=20_000, help="different searches")
    parser.add_argument("--more", default="", help="further parameters of every search, such as include=products")
    options = parser.parse_args()
    requests = _requests(options.products, options.searches, options.more)
    rows: list[dict[str, Any]] = []
    for clients in CLIENTS:
        pairs = []
        for number in range(options.rounds):
            # services remember the searches of the round before
            start = number * len(requests) // options.rounds
            asked = [*requests[start:], *requests[:start]]
            runs = [drive_in_process(port, clients, options.seconds, _WARMUP, asked) for port in options.ports]
            if failed := [one.failures[0] for one in runs if one.failures]:
                raise SystemExit(f"a search failed: {failed[0]}")
            pairs.append(runs)
        row: dict[str, Any] = {"clients": clients}
        for field in ("rate", "p50", "p99"):
            values = [[getattr(one, field) for one in runs] for runs in pairs]
            ratios = sorted(one / other for one, other in values)
            row[field] = [round(statistics.median(column), 2) for column in zip(*values, strict=True)]
            row[f"{field}_ratio"] = [round(one, 3) for one in (statistics.median(ratios), ratios[0], ratios[-1])]
        rows.append(row)
        print(
            f"{clients:>3} clients: {row['rate'][0]:.0f} and {row['rate'][1]:.0f} searches/s, ratio "
            f"{row['rate_ratio'][0]:.2f} ({row['rate_ratio'][1]:.2f} to {row['rate_ratio'][2]:.2f}); p50 "
            f"{row['p50'][0]:.2f} and {row['p50'][1]:.2f} ms; p99 {row['p99'][0]:.1f} and {row['p99'][1]:.1f} ms"
        )
    print(json.dumps({"benchmark": "search_serving", "searches": options.searches, "more": options.more, "rows": rows}))


def _requests(products: Path, searches: int, more: str) -> list[str]:
    draw = random.Random(7)
    with products.open(encoding="utf-8", newline="") as file:
        titles = [row["title"].split() for row in csv.DictReader(file)]
    parts = (" ".join(words[at : at + size]) for words in titles for at in range(3) for size in (2, 3))
    texts = list(dict.fromkeys(part for part in parts if part))
    texts = draw.sample(texts, min(searches, len(texts)))
    return [get("/search?" + urlencode({"q": text, "k": _K}) + (f"&{more}" if more else "")) for text in texts]


if __name__ == "__main__":
    main()
