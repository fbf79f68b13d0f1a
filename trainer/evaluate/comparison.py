"""Compares the tested model with the baselines: metrics, intervals and paired differences for metrics.json."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from trainer.config.schema import Evaluation
from trainer.data.events import Events
from trainer.data.matrix import MOST_PAIRS, item_pairs
from trainer.data.popularity import buyer_counts
from trainer.evaluate import baselines
from trainer.evaluate.bootstrap import interval, resampled_means
from trainer.evaluate.ranking import Ranks, case_metrics, list_metrics, metrics
from twotower.arrays import Float64, Int64
from twotower.artifact.fsync import write_atomically

log = logging.getLogger(__name__)

# system → metric → one value [C] for each test case that has a target
PerCase = dict[str, dict[str, Float64]]


def baseline_fits(
    events: Events, stop: Int64, products: int, config: Evaluation
) -> dict[str, Callable[[], baselines.Scorer]]:
    """For each baseline a function that fits it on the training events of the tested model, before `stop` [buyers].

    A scorer may hold a matrix of products by products: keep one at a time. Leaves out a baseline that is too large for
    this catalogue, and logs it.
    """
    fits = {
        "popularity": lambda: baselines.popularity_scorer(buyer_counts(events, stop, products)),
        "recent_popularity": lambda: baselines.recent_popularity_scorer(events, stop, products),
        "transitions": lambda: baselines.transitions_scorer(events, stop, products),
    }
    if not config.excludes_seen:
        fits["bought_before"] = lambda: baselines.bought_before_scorer(events, stop, products)
    if (pairs := item_pairs(events, stop, products)) <= MOST_PAIRS:
        fits["item_knn"] = lambda: baselines.item_knn_scorer(events, stop, products)
    else:
        log.info(f"item_knn is left out: it may need {pairs:,} pairs of products, the limit is {MOST_PAIRS:,}")
    if products <= config.ease_max_products:
        fits["ease"] = lambda: baselines.ease_scorer(events, stop, products, config.ease_l2)
    else:
        limit = config.ease_max_products
        log.info(f"ease is left out: there are {products:,} products, evaluation.ease_max_products is {limit:,}")
    return fits


def per_case(ranks: Mapping[str, Ranks], counts: Int64) -> PerCase:
    """Returns every metric of every system for each case. All systems have the same cases."""
    return {name: case_metrics(own) | list_metrics(own, counts) for name, own in ranks.items()}


def means(ranks: Mapping[str, Ranks], values: PerCase, products: int) -> dict[str, dict[str, float]]:
    """Returns each system's means over cases, its coverage of the top 10, and the number of cases."""
    return {
        name: {metric: float(column.mean()) if len(column) else 0.0 for metric, column in values[name].items()}
        | {
            metric: value
            for metric, value in metrics(ranks[name], products).items()
            if metric in {"coverage@10", "cases"}
        }
        for name in ranks
    }


def intervals(values: PerCase, draws: int, seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns 95 % intervals of each system's means, and paired differences of the model and each baseline.

    All use the same resampled buyers. Both are empty if no case has a target.
    """
    names, measured = list(values), list(values["model"])
    if not len(values["model"][measured[0]]):
        return {}, {}
    stacked = np.stack([values[name][metric] for name in names for metric in measured], axis=1)
    resampled = resampled_means(stacked, draws, seed).reshape(draws, len(names), len(measured))
    mean = stacked.mean(axis=0).reshape(len(names), len(measured))
    own = {
        name: {metric: interval(resampled[:, i, j]) for j, metric in enumerate(measured)}
        for i, name in enumerate(names)
    }
    model = names.index("model")
    differences: dict[str, Any] = {}
    for i, name in enumerate(names):
        for j, metric in enumerate(measured):
            if i == model:
                continue
            low, high = interval(resampled[:, model, j] - resampled[:, i, j])
            difference = float(mean[model, j] - mean[i, j])
            differences.setdefault(name, {})[metric] = {"difference": difference, "low": low, "high": high}
    return own, differences


def save_per_case(path: Path, places: Int64, values: PerCase, metric: str) -> None:
    """Writes one metric of every system for each case, for the gate. `places` [C] index the test cases."""
    stacked = np.stack([own[metric] for own in values.values()])
    with write_atomically(path) as temporary:
        np.savez(temporary, places=places, names=np.array(list(values)), values=stacked)


def load_per_case(path: Path) -> tuple[Int64, dict[str, Float64]]:
    """Reads what `save_per_case` wrote."""
    with np.load(path, allow_pickle=False) as file:
        return file["places"], dict(zip(file["names"].tolist(), file["values"], strict=True))
