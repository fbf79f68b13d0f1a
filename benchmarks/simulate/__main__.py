"""Plots the click-through per day of three shops with the same buyers and the same random numbers.

`closed`: what happens comes back. New products enter the live catalogue on the day on which they come. Every night a
warm training reads the log and the products of the next day; with `--every N`, every Nth night.
`frozen`: the model of day one for ever; histories of buyers still grow. `popular`: the popular products of the closed
shop, counted anew every night, less those that the buyer has seen.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from scipy import stats

from benchmarks.simulate.buyers import Counts, Day, K, Served, Shop, draw_day
from benchmarks.simulate.processes import ShopProcesses
from benchmarks.simulate.world import World

_LAST = 7  # days over which the end is averaged


class Run(NamedTuple):
    """The counts of each day of each shop, the share of true appeal that new products had, and CPU seconds."""

    counts: dict[str, list[Counts]]
    deserved: list[float]
    training_seconds: list[float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--products", type=int, default=600)
    parser.add_argument("--buyers", type=int, default=400)
    parser.add_argument("--events", type=int, default=12_000, help="before the first day")
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--seed", type=int, default=7, help="the first seed")
    parser.add_argument(
        "--seeds", type=int, default=1, help="so many seeds, one after another, with intervals over them"
    )
    parser.add_argument("--explore", type=float, default=0.0, help="share of the closed shop's slots that explore")
    parser.add_argument("--every", type=int, default=1, help="nights from one training to the next")
    parser.add_argument("--nightly", action="store_true", help="new products come with the next training, not at once")
    parser.add_argument("--folder", type=Path, help="keeps files and logs there")
    parser.add_argument("--plot", type=Path, help="PNG or SVG to write")
    options = parser.parse_args()
    runs, summaries = list[Run](), []
    for seed in range(options.seed, options.seed + options.seeds):
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="simulate-") as temporary:
            folder = options.folder / str(seed) if options.folder else Path(temporary)
            folder.mkdir(parents=True, exist_ok=True)
            run = _simulate(options, seed, folder)
        runs.append(run)
        summaries.append(_summary(options, seed, run))
        if options.plot:
            _plot(runs, options.plot)
        print(json.dumps(summaries[-1] | {"minutes": round((time.monotonic() - started) / 60, 1)}), flush=True)
    if len(summaries) > 1:
        print(json.dumps(over_seeds(summaries)))


def _simulate(options: argparse.Namespace, seed: int, folder: Path) -> Run:
    world = World.build(options.products, options.buyers, options.days, seed)
    history, products = folder / "events.csv", folder / "products.csv"
    world.write_history(history, options.events)
    closed, frozen = (ShopProcesses(folder / name) for name in ("closed", "frozen"))
    world.write_products(products, 1, np.zeros(options.products, np.bool_))
    seconds = [closed.train([str(history)], products)]
    shutil.copytree(closed.layout.root, frozen.layout.root)
    sources = [str(history), f"log:{closed.layout.log}"]
    deserved = []
    with closed.running(options.explore), frozen.running(0.0), ThreadPoolExecutor(3) as threads:
        shops, products_client = _shops(world, closed, frozen), closed.client()
        counts: dict[str, list[Counts]] = {shop.name: [] for shop in shops}
        for number in range(1, options.days + 1):
            day = draw_day(world, number)
            if not options.nightly:
                closed.reconnect(products_client)
                closed.add_products(products_client, world.arriving(number))
            for shop, found in zip(shops, threads.map(lambda shop, day=day: shop.live(day), shops), strict=True):
                counts[shop.name].append(found)
            deserved.append(_deserved(world, day))
            if number < options.days:
                closed.wait_logged()
                world.write_products(products, number + 1, shops[0].sold_out)
                if number % options.every == 0:
                    seconds.append(closed.train(sources, products, "--warm"))
                    closed.wait_served()
            run = Run(counts, deserved, seconds)
            rates = {name: round(_rate(days[-1:]), 4) for name, days in counts.items()}
            print(json.dumps({"day": number, **rates}), flush=True)
    return run


def _shops(world: World, closed: ShopProcesses, frozen: ShopProcesses) -> list[Shop]:
    row_of = {ident: row for row, ident in enumerate(world.ids)}

    def served(answer: dict[str, Any]) -> Served:
        return Served([row_of[ident] for ident in answer["product_ids"]], answer["recommendation_id"])

    def model(name: str, processes: ShopProcesses) -> Shop:
        client = processes.client()

        def ask(buyer: str, _: object) -> Served:
            return served(client.get("/retrieve", buyer_id=buyer, k=K, exclude_seen="true", in_stock="true"))

        return Shop(name, world, ask, lambda rows: processes.tell(client, rows), lambda: processes.reconnect(client))

    counting = closed.client()

    def popular(_: str, seen: Any) -> Served:
        return served(counting.get("/popular", k=K, in_stock="true", exclude=[world.ids[one] for one in seen]))

    return [
        model("closed", closed),
        model("frozen", frozen),
        Shop("popular", world, popular, None, lambda: closed.reconnect(counting)),
    ]


def _deserved(world: World, day: Day) -> float:
    """The share of the true appeal to the day's visitors that products have which came after day one."""
    appeal = day.appeal[day.visitors]
    return float(appeal[:, world.arrival > 0].sum() / appeal.sum())


def _rate(days: list[Counts]) -> float:
    return sum(one.clicks for one in days) / max(sum(one.shown for one in days), 1)


def _new_share(days: list[Counts]) -> float:
    return sum(one.new_clicks for one in days) / max(sum(one.clicks for one in days), 1)


def _summary(options: argparse.Namespace, seed: int, run: Run) -> dict[str, Any]:
    last = {name: days[-_LAST:] for name, days in run.counts.items()}
    rates = {name: round(_rate(days), 4) for name, days in last.items()}
    deserved = float(np.mean(run.deserved[-_LAST:]))
    return {
        "seed": seed,
        "explore": options.explore,
        "every": options.every,
        "nightly": options.nightly,
        "ctr_last_week": rates,
        "ctr_all_days": {name: round(_rate(days), 4) for name, days in run.counts.items()},
        "closed_by_frozen": round(rates["closed"] / rates["frozen"], 3),
        "closed_by_popular": round(rates["closed"] / rates["popular"], 3),
        "new_share_of_clicks": {name: round(_new_share(days), 4) for name, days in last.items()},
        "new_share_of_appeal": round(deserved, 4),
        "new_by_deserved": round(_new_share(last["closed"]) / deserved, 3),
        "first_training_seconds": round(run.training_seconds[0], 1),
        "night_seconds": round(float(np.mean(run.training_seconds[1:])), 1) if len(run.training_seconds) > 1 else None,
    }


def over_seeds(summaries: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and 95 % interval (Student's t) over the seeds of each ratio."""
    found: dict[str, Any] = {"seeds": [one["seed"] for one in summaries]}
    for name in ("closed_by_frozen", "closed_by_popular", "new_by_deserved"):
        values = np.array([one[name] for one in summaries])
        half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
        mean = float(values.mean())
        found[name] = {"mean": round(mean, 3), "interval": [round(mean - half, 3), round(mean + half, 3)]}
    return found


def _plot(runs: list[Run], path: Path) -> None:
    """Plots the click-through of each day over all runs."""
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    labels = {"closed": "loop closed", "frozen": "model of day one", "popular": "popularity"}
    for name, style in zip(labels, ("o-", "s--", "^:"), strict=True):
        rates = [_rate(list(counts)) for counts in zip(*(run.counts[name] for run in runs), strict=True)]
        axes.plot(range(1, len(rates) + 1), rates, style, markersize=4, label=labels[name])
    axes.set_xlabel("day")
    axes.set_ylabel("click-through rate")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
