"""Public data through the command line, from two files to recommendations; scored here, from the file it wrote.

The data is at ../shared/data or $TWOTOWER_DATA; it is never copied into the project.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import pytest

from tests.helpers.small_shop import OFFLINE, ROOT, trainer

# Whole runs on public data: minutes on idle cores, longer on busy ones.
pytestmark = pytest.mark.timeout(2700)
DATA = Path(os.environ.get("TWOTOWER_DATA") or ROOT.parent / "shared" / "data")
QUICK = ["encoder.catalogue.steps=40", "encoder.catalogue.dimension=128", "model.dimension=128", "training.min_steps=0"]
Targets = dict[str, set[str]]


class Scored(NamedTuple):
    """Recall@10 of the model and of popularity, and how many buyers they are means over."""

    model: float
    popularity: float
    buyers: int


def events_of(name: str) -> pl.DataFrame:
    if not (DATA / name / "events.csv.gz").is_file():
        pytest.skip(f"{name} is not in {DATA}; set TWOTOWER_DATA to the folder that holds it")
    return pl.read_csv(DATA / name / "events.csv.gz", infer_schema=False)


def last_days(events: pl.DataFrame, days: int) -> pl.Series:
    """True for the events of the newest `days` days."""
    second = events["created_at"].str.to_datetime(time_zone="UTC").dt.epoch("s")
    return second > int(second.to_numpy().max()) - days * 86_400


def last_events(events: pl.DataFrame, count: int) -> pl.Series:
    """True for each buyer's last `count` events; equal times in the order of the file."""
    ordered = events.with_row_index("place").sort("created_at", maintain_order=True)
    late = ordered.select("place", late=pl.int_range(pl.len(), 0, -1).over("distinct_id") <= count)
    return late.sort("place")["late"]


def run_and_recommend(folder: Path, name: str, history: pl.DataFrame, settings: list[str]) -> pl.DataFrame:
    """What `run` and then `recommend` write for every buyer of the history."""
    path, artifacts, out = folder / "history.csv", folder / "artifacts", folder / "out.parquet"
    history.write_csv(path)
    done = trainer(
        "run",
        "--events",
        str(path),
        "--products",
        str(DATA / name / "products.csv.gz"),
        "--artifacts",
        str(artifacts),
        "--config",
        OFFLINE,
        "--set",
        *QUICK,
        *settings,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout)
    done = trainer("recommend", "--artifacts", str(artifacts), "--events", str(path), "--k", "10", "--out", str(out))
    assert done.returncode == 0, done.stderr
    return pl.read_parquet(out)


def recall_at_10(lists: Callable[[str], list[str]], targets: Targets) -> float:
    hits = [len(targets[buyer] & set(lists(buyer)[:10])) / min(10, len(targets[buyer])) for buyer in targets]
    return float(np.mean(hits))


def scored(folder: Path, name: str, events: pl.DataFrame, late: pl.Series, settings: list[str]) -> Scored:
    """Trains on the events before `late`, recommends ten products, and returns the recall of the late events."""
    history, later = events.filter(~late), events.filter(late)
    seen = dict(history.group_by("distinct_id").agg(pl.col("product_id").unique()).iter_rows())
    targets: Targets = {}
    for buyer, product in later.select("distinct_id", "product_id").iter_rows():
        # Products of the history are neither recommended nor targets.
        if buyer in seen and product not in seen[buyer]:
            targets.setdefault(buyer, set()).add(product)
    written = run_and_recommend(folder, name, history, settings)
    rows = dict(written.sort("rank").group_by("buyer_id", maintain_order=True).agg("product_id").iter_rows())
    counts = history.group_by("product_id").len().sort("len", "product_id", descending=[True, False])
    popular = counts["product_id"].to_list()

    def most_popular(buyer: str) -> list[str]:
        own = set(seen[buyer])
        return [product for product in popular[: len(own) + 10] if product not in own]

    return Scored(recall_at_10(lambda buyer: rows[buyer], targets), recall_at_10(most_popular, targets), len(targets))


def test_online_retail_is_recommended_better_than_by_popularity(tmp_path: Path) -> None:
    name = "online_retail_2009_2010"
    whole = events_of(name)
    # half a year of it, in half of the time
    events = whole.filter(last_days(whole, 180))
    found = scored(
        tmp_path, name, events, last_days(events, 30), ["training.max_epochs=1", "evaluation.exclude_seen=true"]
    )
    print(found)
    assert found.buyers > 500
    assert found.model > found.popularity


def test_movie_ratings_are_recommended_better_than_by_popularity(tmp_path: Path) -> None:
    name = "ml_latest_small"
    events = events_of(name)
    found = scored(tmp_path, name, events, last_events(events, 5), ["training.max_epochs=1"])
    print(found)
    assert found.buyers > 500
    assert found.model > found.popularity


def test_three_hours_of_a_shop_run_and_give_ten_products_each(tmp_path: Path) -> None:
    name = "rees46_sample"
    events = events_of(name)
    written = run_and_recommend(tmp_path, name, events, ["training.max_epochs=2"])
    counts = written.group_by("buyer_id").len()
    assert len(counts) == events["distinct_id"].n_unique()
    assert counts["len"].to_list() == [10] * len(counts)
    assert set(written["product_id"]) <= set(
        pl.read_csv(DATA / name / "products.csv.gz", infer_schema=False)["product_id"]
    )
    assert written["score"].is_finite().all()
