"""Repeat purchases: our model beside "most bought before, then popular", with seen products allowed.

Usage:  make bench-repeats [ARGS="--set training.start=linear"]

Two shops: Online Retail 2009-10 (UCI), in `--data` or ../shared/data, if it is there; and a SYNTHETIC grocery of
weekly baskets (benchmarks/grocery.py). Each goes through `trainer run` with its defaults and `--set`, split by global
time: the model knows no event of the last 30 days (grocery: the last 14), and each buyer with a history before them is
asked once. Targets are all products of these days, and any product may be recommended, whether the buyer had it before
or not. The baseline reads the whole history, our model its newest `model.max_history` interactions, as in the services.
Figures are those of the run's own test, on all such buyers.

The last line is one JSON object.
"""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.grocery import write_grocery
from benchmarks.options import ROOT, data_parser
from twotower.artifact.layout import Layout
from twotower.artifact.pointer import read_pointer

BASELINE = "bought_before"
METRICS = ("ndcg@10", "recall@10", "recall@100")
GOAL = 1.1


class Shop(NamedTuple):
    """A shop's files and the days of its test."""

    name: str
    events: Path
    products: Path
    test_days: int


def main() -> int:
    options = data_parser(__doc__, "online_retail_2009_2010").parse_args()
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for shop in shops(options.data, Path(scratch)):
            found[shop.name] = _measure(shop, options.set, Path(scratch) / shop.name)
    print(json.dumps({"benchmark": "repeats", "set": options.set, "baseline": BASELINE, "shops": found}))
    return 0


def shops(data: Path, scratch: Path) -> list[Shop]:
    """The synthetic grocery, written below `scratch`, and the shop whose files are in `data`, if it is there."""
    grocery = scratch / "market"
    grocery.mkdir()
    write_grocery(grocery)
    found = [Shop("SYNTHETIC grocery", grocery / "events.csv", grocery / "products.csv", 14)]
    if data.is_dir():
        found.append(Shop("Online Retail 2009-10", data / "events.csv.gz", data / "products.csv.gz", 30))
    else:
        print(f"{data} is not there: the synthetic grocery alone is measured")
    return found


def _measure(shop: Shop, settings: list[str], folder: Path) -> dict[str, Any]:
    """Runs the trainer and reads the test's figures from the version."""
    from trainer.__main__ import main as trainer

    files = ["--events", str(shop.events), "--products", str(shop.products), "--artifacts", str(folder)]
    wanted = ["evaluation.split=global_time", f"evaluation.test_days={shop.test_days}", "publish.gate=false", *settings]
    with contextlib.redirect_stdout(sys.stderr):
        code = trainer(["run", *files, "--config", str(ROOT / "trainer/config/offline.yaml"), "--set", *wanted])
    if code:
        raise SystemExit(f"trainer run ended with exit code {code}")
    layout = Layout(folder)
    pointer = read_pointer(layout.current)
    assert pointer is not None  # the gate is off
    measured = json.loads(layout.version(pointer.version).metrics.read_text(encoding="utf-8"))
    repeats = measured["protocol"]["repeats"]
    if BASELINE not in measured["test"]:
        raise SystemExit(f"{shop.name}: seen products are excluded, {repeats['share']:.1%} of the events are repeats")
    print(f"\n{shop.name}: {repeats['share']:.1%} repeats, {measured['protocol']['test_buyers']:,} buyers", flush=True)
    for name, figures in measured["test"].items():
        print(f"{name:<20}" + "".join(f"{metric:>12} {figures[metric]:.4f}" for metric in METRICS))
    ratios = {metric: measured["test"]["model"][metric] / measured["test"][BASELINE][metric] for metric in METRICS}
    print(
        "ours over it        "
        + "".join(f"{metric:>12} {ratios[metric]:.3f} " for metric in METRICS)
        + f" wanted {GOAL}"
    )
    test = {name: {metric: figures[metric] for metric in METRICS} for name, figures in measured["test"].items()}
    training = measured["training"]
    return {"repeats": repeats, "kind": training["kind"], "terms": training["terms"], "test": test, "ratios": ratios}


if __name__ == "__main__":
    sys.exit(main())
