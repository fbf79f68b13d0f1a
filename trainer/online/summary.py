"""Everything that `trainer online` says about a log, as one JSON-safe object."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from trainer.data.event_log.reading import read_log
from trainer.errors import DataError
from trainer.online.intervals import (
    Difference,
    Sums,
    anytime_difference,
    anytime_mean,
    bootstrap_intervals,
    delta_interval,
    rate,
    ratio_mismatch,
)
from trainer.online.table import outcomes
from twotower.experiments import INTERLEAVED, Experiment, Experiments

_DRAWS, _SEED = 1000, 7
ALPHA = 0.05
# lists of two arms after which a verdict is sharpest, unless the operator plans others
PLANNED_LISTS = 50_000
# the normal approximation needs this many buyers in each arm, and lists that led to something
_MIN_BUYERS, _MIN_EVENTS = 100, 30
# a sample-ratio mismatch this unlikely is no chance: something loses buyers of one arm
MISMATCH = 0.001
_RATES = {"click_through": "clicked", "cart_rate": "carted", "purchase_rate": "purchased"}
_REVENUE = "revenue_per_1000_lists"


def summarise(folder: Path, experiments: Experiments, planned: int) -> dict[str, Any]:
    """What the lists of a log led to, by version, arm, slot and source, and a verdict for each experiment.

    `experiments` says which arm is the control and which shares were promised; without it, arms are compared in the
    order of their names, and shares are not checked. Raises DataError for a log without a list.
    """
    if not folder.is_dir():
        raise DataError(f"--log {folder}: no such folder")
    log = read_log(folder, with_lists="all")
    if log.lists is None or not log.lists.height:
        raise DataError(f"the log {folder} holds no list yet")
    lists = outcomes(log)
    known, found = experiments.by_name(), {}
    for (name,), rows in lists.filter(pl.col("experiment").is_not_null()).group_by("experiment", maintain_order=True):
        found[str(name)] = _experiment(rows, known.get(str(name)), planned)
    for name, shadow in _shadows(lists, log.shadows).items():
        found[name] = {**found.get(name, {}), "shadow": shadow}
    return {
        "lists": lists.height,
        "all": _slice(lists),
        **{f"by_{column}": _slices(lists, [column]) for column in ("model_version", "slot", "source")},
        "by_arm": _slices(lists.filter(pl.col("experiment").is_not_null()), ["experiment", "arm"]),
        "experiments": found,
        "intervals": f"95 %, bootstrap over buyers, {_DRAWS} resamples; delta: the delta method",
        "planned_lists": planned,
    }


def sums_of(lists: pl.DataFrame, column: str) -> Sums:
    """The lists of each buyer, and the sum of a column over them."""
    by_buyer = lists.group_by("unit", maintain_order=True).agg(n=pl.len(), y=pl.col(column).sum())
    return Sums(by_buyer["n"].cast(pl.Float64).to_numpy(), by_buyer["y"].cast(pl.Float64).to_numpy())


def _slices(lists: pl.DataFrame, columns: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {**dict(zip(columns, key, strict=True)), **_slice(rows)}
        for key, rows in lists.sort(*columns, maintain_order=True).group_by(columns, maintain_order=True)
    ]


def _slice(lists: pl.DataFrame) -> dict[str, Any]:
    figures: dict[str, Any] = {
        "lists": lists.height,
        "impressions": int(lists["impressions"].sum()),
        "buyers": lists["unit"].n_unique(),
    }
    sums = {name: sums_of(lists, column) for name, column in {**_RATES, _REVENUE: "revenue"}.items()}
    sums[_REVENUE] = sums[_REVENUE]._replace(y=1000 * sums[_REVENUE].y)
    intervals = bootstrap_intervals(list(sums.values()), _DRAWS, _SEED)
    for (name, one), between in zip(sums.items(), intervals, strict=True):
        found = rate(one)
        figures[name] = {"mean": float(found.mean), "interval": between, "delta": delta_interval(found)}
    return figures


def _experiment(lists: pl.DataFrame, experiment: Experiment | None, planned: int) -> dict[str, Any]:
    arms = [arm.name for arm in experiment.arms] if experiment else sorted(lists["arm"].unique())
    drafted = lists.filter(pl.col("arm") == INTERLEAVED)
    if drafted.height:
        pair = arms if experiment else ["A", "B"]
        return {"interleaving": _interleaving(drafted, pair, planned)}
    arms = [arm for arm in arms if (lists["arm"] == arm).any()]
    compared = _in_one_arm(_while_all_were_served(lists, arms))
    left_out = lists["unit"].n_unique() - compared["unit"].n_unique()
    control, *others = arms
    alpha = ALPHA / max(len(others), 1)
    return {
        "control": control,
        "left_out_buyers": left_out,
        "sample_ratio": _sample_ratio(compared, experiment),
        "comparisons": [_compare(compared, arm, control, planned, alpha) for arm in others],
    }


def _while_all_were_served(lists: pl.DataFrame, arms: Sequence[str]) -> pl.DataFrame:
    """The lists until the first arm that was switched off served its last one: from then on shares are others."""
    ends = lists.filter(pl.col("arm").is_in(arms)).group_by("arm").agg(pl.col("served_ms").max())["served_ms"]
    last = ends.min()
    return lists.filter(pl.col("served_ms") <= last) if isinstance(last, int) else lists


def _in_one_arm(lists: pl.DataFrame) -> pl.DataFrame:
    """Without the buyers of several arms: guests who logged in, and those whose arm was switched off."""
    return lists.filter(pl.col("arm").n_unique().over("unit") == 1)


def _sample_ratio(lists: pl.DataFrame, experiment: Experiment | None) -> dict[str, Any] | None:
    if experiment is None or experiment.kind != "split":
        return None
    buyers = {arm.name: lists.filter(pl.col("arm") == arm.name)["unit"].n_unique() for arm in experiment.arms}
    shares = [arm.share or 0.0 for arm in experiment.arms]
    p = ratio_mismatch(list(buyers.values()), shares) if sum(buyers.values()) else 1.0
    return {"buyers": buyers, "p": p, "mismatch": p < MISMATCH}


def _compare(lists: pl.DataFrame, arm: str, control: str, planned: int, alpha: float) -> dict[str, Any]:
    rows = [lists.filter(pl.col("arm") == name) for name in (arm, control)]
    made: dict[str, Any] = {"arm": arm, "beside": control}
    for name, column in {**_RATES, "revenue_per_list": "revenue"}.items():
        pair = [sums_of(one, column) for one in rows]
        if min(one.n.size for one in pair) < 2:
            made[name] = {"verdict": "too early"}
            continue
        found = anytime_difference(pair[0], pair[1], planned, alpha)
        enough = min(
            min(one.n.size for one in pair) / _MIN_BUYERS, min(np.sign(one.y).sum() for one in pair) / _MIN_EVENTS
        )
        made[name] = _told(found, is_enough=bool(enough >= 1))
    made["verdict"] = made["click_through"]["verdict"]
    return made


def _interleaving(lists: pl.DataFrame, arms: Sequence[str], planned: int) -> dict[str, Any]:
    """Credit of a list: clicked products of the second team less those of the first, over buyers."""
    credited = sums_of(lists.with_columns(credit=pl.col("clicks_b") - pl.col("clicks_a")), "credit")
    wins = {arm: float(lists[column].sum()) for arm, column in zip(arms, ("clicks_a", "clicks_b"), strict=True)}
    enough = credited.n.size >= _MIN_BUYERS and sum(wins.values()) >= _MIN_EVENTS
    told = _told(anytime_mean(credited, planned, ALPHA), is_enough=enough) if credited.n.size > 1 else {}
    return {"arm": arms[1], "beside": arms[0], "lists": lists.height, "clicks": wins, "credit_per_list": told}


def _told(found: Difference, *, is_enough: bool) -> dict[str, Any]:
    low, high = float(found.low), float(found.high)
    verdict = "better" if low > 0 else "worse" if high < 0 else "no difference shown yet"
    return {
        "difference": float(found.difference),
        "anytime": [low, high],
        "verdict": verdict if is_enough else "too early",
    }


def _shadows(lists: pl.DataFrame, shadows: pl.DataFrame | None) -> dict[str, dict[str, Any]]:
    """How much shadow lists had in common with those that were shown."""
    if shadows is None or not shadows.height:
        return {}
    request = pl.col("recommendation_id").str.replace(r"~[^~]*~[^~]*$", "")
    made = shadows.select("experiment", "arm", shadow="product_ids", request=request)
    pairs = made.join(lists.select(shown="product_ids", request=request), on="request", how="inner").with_columns(
        common=pl.col("shadow").list.set_intersection("shown").list.len() / pl.col("shown").list.len()
    )
    found = {}
    for (name,), rows in made.group_by("experiment", maintain_order=True):
        shown = pairs.filter(pl.col("experiment") == name)["common"].drop_nans()
        mean = shown.mean()
        found[str(name)] = {
            "arm": rows["arm"][0],
            "lists": rows.height,
            "share_in_common": float(mean) if isinstance(mean, float) else None,
        }
    return found
