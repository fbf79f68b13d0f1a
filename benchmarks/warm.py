"""Measures warm trainings against trainings from scratch, day by day: CPU time, and NDCG@10 on the next day.

The demo market is cut by days. Both shops begin with the same version; then one trains from scratch every night and the
other warm, each on all events so far. Each night both versions, as published, rank the last event that each buyer made
on the following day, which neither has seen.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from demo.market.generate import generate
from trainer.config.loading import load_config
from trainer.data.dataset import load_dataset
from trainer.data.events import tie_hash
from trainer.data.split import first_at, newest_events
from trainer.evaluate import ranking
from trainer.evaluate.bootstrap import paired_difference
from trainer.evaluate.served import served_codes, served_scorer
from twotower.arrays import Float64
from twotower.artifact.layout import Layout
from twotower.artifact.pointer import read_pointer
from twotower.artifact.version import Version, open_version
from twotower.events import DAY_MS

_ROOT = Path(__file__).resolve().parent.parent
_OFFLINE = _ROOT / "trainer" / "config" / "offline.yaml"
_SMALL = (
    "threads=1",
    "model.dimension=128",
    "model.heads=2",
    "encoder.catalogue.steps=60",
    "encoder.catalogue.dimension=128",
    "evaluation.min_test_buyers=50",
)


class Night(NamedTuple):
    """CPU seconds of one training, and how its report says it began."""

    seconds: float
    start: str
    version: Version


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="for the files of both shops")
    parser.add_argument("--products", type=int, default=600)
    parser.add_argument("--buyers", type=int, default=800)
    parser.add_argument("--events", type=int, default=40_000)
    parser.add_argument("--days", type=int, default=10)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    made = generate(options.folder / "market", options.products, options.buyers, options.events, options.seed)
    events = pl.read_csv(made.events_path, try_parse_dates=True)
    newest = events["created_at"].max()
    files = options.folder, made.products_path, (*_SMALL, *options.set)

    def until(day: int) -> Path:
        path = options.folder / f"events-{day}.csv"
        cut = pl.lit(newest) - pl.duration(days=options.days - day)
        events.filter(pl.col("created_at") <= cut).write_csv(path, datetime_format="%Y-%m-%dT%H:%M:%SZ")
        return path

    first = _train(*files, "scratch", until(0))
    shutil.copytree(options.folder / "scratch", options.folder / "warm")
    print(json.dumps({"night": 0, "scratch_seconds": first.seconds}), flush=True)
    nights, values = [], []
    for day in range(1, options.days):
        path = until(day)
        scratch, warm = _train(*files, "scratch", path), _train(*files, "warm", path)
        on = [_next_day(one.version, made.events_path, made.products_path, files[2], day) for one in (scratch, warm)]
        values.append(on)
        line = {"night": day, "start": warm.start, "buyers": len(on[0])}
        line |= {"scratch_seconds": scratch.seconds, "warm_seconds": warm.seconds}
        nights.append(line | {"scratch": float(on[0].mean()), "warm": float(on[1].mean())})
        print(json.dumps(nights[-1]), flush=True)
    print(json.dumps(_summary(nights, values)))


def _summary(nights: list[dict[str, object]], values: list[list[Float64]]) -> dict[str, object]:
    scratch, warm = (np.concatenate([one[place] for one in values]) for place in (0, 1))
    paired = paired_difference(warm, scratch, 1000, 7)
    spent = [sum(float(str(one[name])) for one in nights) for name in ("warm_seconds", "scratch_seconds")]
    return {
        "nights": len(nights),
        "cases": len(warm),
        "warm_share_of_cpu": spent[0] / spent[1],
        "scratch": float(scratch.mean()),
        "warm": float(warm.mean()),
        "difference": paired.difference,
        "low": paired.low,
        "high": paired.high,
    }


def _train(folder: Path, products: Path, settings: tuple[str, ...], shop: str, events: Path) -> Night:
    layout = Layout(folder / shop)
    command = [sys.executable, "-m", "trainer", "run", "--artifacts", str(layout.root), "--events", str(events)]
    command += ["--products", str(products), "--config", str(_OFFLINE), "--set", *settings]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with (folder / f"{shop}.log").open("ab") as log:
        code = subprocess.run(
            command + (["--warm"] if shop == "warm" else []), stdout=log, stderr=log, check=False
        ).returncode
    if code not in (0, 3):
        raise SystemExit(f"the training failed, see {folder / shop}.log")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    pointer = read_pointer(layout.current)
    assert pointer is not None
    version = open_version(layout, pointer.version)
    training = json.loads(version.layout.metrics.read_text(encoding="utf-8"))["training"]
    start = training["start"]
    return Night(round(seconds, 1), f"{start['from']} {start['reason']}".strip(), version)


def _next_day(version: Version, events: Path, products: Path, settings: tuple[str, ...], day: int) -> Float64:
    """NDCG@10 of the version for the last event of each buyer on the day after its newest event."""
    config = load_config([_OFFLINE], list(settings))
    data = load_dataset([str(events)], [str(products)], config.data, config.seed, version.layout.root.parent)
    newest = version.manifest.newest_event_ms
    assert newest is not None
    stop = first_at(data.events, newest + DAY_MS + 1)
    inside = np.arange(len(data.events.buyer)) < stop[data.events.buyer]
    kept = data.events._replace(
        buyer=data.events.buyer[inside],
        product=data.events.product[inside],
        kind=data.events.kind[inside],
        time=data.events.time[inside],
        start=np.concatenate(([0], np.cumsum(stop - data.events.start[:-1]))),
    )
    cases = newest_events(kept, newest, "").test
    scorer = served_scorer(version, served_codes(version, data.products.ids, data.event_names), kept, 1)
    ties = tie_hash(data.products.ids, config.seed)
    ranks = ranking.rank_targets(scorer, kept, cases, ties, True, "ranking", lists=False)
    return ranking.case_metrics(ranks)["ndcg@10"]


if __name__ == "__main__":
    main()
