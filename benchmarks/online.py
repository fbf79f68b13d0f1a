"""Verdicts on simulated experiments, looked at every day: false alarms of A/A, and how often a true lift is called.

Usage:  make bench-online [ARGS="--runs 1000 --metrics artifacts/versions/VERSION/metrics.json"]

In each run, buyers are split at random into two arms. A buyer sees a Poisson number of lists a day, at a rate of their
own (gamma, mean `--lists`), for 30 days, and clicks a list with a probability of their own (beta, mean `--clicks`). So
lists of one buyer go together, as in a shop. After each day the verdict of `trainer online` is asked for (the same
function); the first one that leaves out zero counts, right or wrong.

The lift: the control is the model, the arm is item-kNN. Clicks are assumed to be proportional to NDCG@10: the chance
that the wanted product is in the list, weighted by how likely its place is looked at. The ratio of both is that of the
demo market's test (0.1328 / 0.2525, `make demo` of the version of 28 November), or that of `--metrics`.

The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from trainer.online.intervals import Difference, Sums, anytime_difference, rate
from twotower.arrays import Float64

DAYS = 30
MODEL_NDCG, KNN_NDCG = 0.2525, 0.1328


class Shop(NamedTuple):
    """How many buyers there are, their mean number of lists a day, and the mean share of lists that they click."""

    buyers: int = 2000
    lists: float = 0.5
    clicks: float = 0.05


class Calls(NamedTuple):
    """The day of the first verdict of each run [R], from 1, 0 for none; and its sign."""

    day: Float64
    sign: Float64

    def share(self, sign: int) -> float:
        """The share of runs whose first verdict has this sign."""
        return float((self.sign == sign).mean())


def simulate(shop: Shop, lift: float, draw: np.random.Generator) -> tuple[Sums, Sums]:
    """One run: lists and clicks of each buyer until each day [30, C], of the arm (with `lift`) and of the control."""
    per_day = draw.gamma(0.5, shop.lists / 0.5, shop.buyers)
    chance = draw.beta(2, 2 / shop.clicks - 2, shop.buyers)
    in_arm = draw.random(shop.buyers) < 0.5
    chance = np.where(in_arm, np.minimum(chance * lift, 1), chance)
    lists = draw.poisson(per_day, (DAYS, shop.buyers))
    clicks = draw.binomial(lists, chance)
    n, y = (made.cumsum(axis=0).astype(np.float64) for made in (lists, clicks))
    return Sums(n[:, in_arm], y[:, in_arm]), Sums(n[:, ~in_arm], y[:, ~in_arm])


def first_calls(shop: Shop, lift: float, runs: int, planned: float, seed: int) -> tuple[Calls, Calls]:
    """The verdicts of some runs, and those of someone who takes an ordinary 95 % interval every day."""
    ours, naive = [], []
    for run in range(runs):
        arm, control = simulate(shop, lift, np.random.default_rng((seed, run)))
        ours.append(_first(anytime_difference(arm, control, planned, 0.05)))
        one, other = rate(arm), rate(control)
        difference, width = one.mean - other.mean, 1.959964 * np.hypot(one.error, other.error)
        naive.append(_first(Difference(difference, difference - width, difference + width)))
    return Calls(*np.array(ours, np.float64).T), Calls(*np.array(naive, np.float64).T)


def _first(found: Difference) -> tuple[int, int]:
    signs = np.where(found.low > 0, 1, np.where(found.high < 0, -1, 0))
    called = np.flatnonzero(signs)
    return (int(called[0]) + 1, int(signs[called[0]])) if called.size else (0, 0)


def main() -> int:
    options = _arguments()
    shop, started = Shop(options.buyers, options.lists, options.clicks), time.perf_counter()
    ratio = _ratio(options.metrics)
    found: dict[str, object] = {"benchmark": "online", "runs": options.runs, "days": DAYS, **shop._asdict()}
    same, naive = first_calls(shop, 1.0, options.runs, options.planned, options.seed)
    found["false_alarms"] = 1 - same.share(0)
    found["false_alarms_of_daily_95_percent_intervals"] = 1 - naive.share(0)
    print(f"A/A: {1 - same.share(0):.1%} false alarms; an ordinary interval, looked at daily: {1 - naive.share(0):.1%}")
    for name, lift in (("item-kNN beside the model", ratio), ("the model beside item-kNN", 1 / ratio), ("+10 %", 1.1)):
        base = shop._replace(clicks=shop.clicks * ratio) if name.startswith("the model") else shop
        calls, _ = first_calls(base, lift, options.runs, options.planned, options.seed + 1)
        right = 1 if lift > 1 else -1
        day = float(np.median(calls.day[calls.sign == right])) if calls.share(right) else None
        found[name] = {"lift": lift, "right": calls.share(right), "wrong": calls.share(-right), "median_day": day}
        shares = f"{calls.share(right):.1%} right, {calls.share(-right):.1%} wrong"
        print(f"{name}: lift {lift:.3f}, called {shares}, median day {day}")
    found["seconds"] = round(time.perf_counter() - started, 1)
    print(json.dumps(found))
    return 0


def _ratio(metrics: Path | None) -> float:
    if metrics is None:
        return KNN_NDCG / MODEL_NDCG
    test = json.loads(metrics.read_text(encoding="utf-8"))["test"]
    return float(test["item_knn"]["ndcg@10"] / test["model"]["ndcg@10"])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--buyers", type=int, default=Shop().buyers)
    parser.add_argument("--lists", type=float, default=Shop().lists, help="mean lists of a buyer a day")
    parser.add_argument("--clicks", type=float, default=Shop().clicks, help="mean share of lists that are clicked")
    parser.add_argument("--planned", type=float, default=50_000, help="as --planned-lists of `trainer online`")
    parser.add_argument("--metrics", type=Path, help="metrics.json of a version: the ratio of item-kNN to the model")
    parser.add_argument("--seed", type=int, default=7)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
