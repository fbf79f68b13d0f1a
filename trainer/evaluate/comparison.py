"""The test of a model beside its baselines: every figure of metrics.json but those of the gate."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from trainer.config.schema import Evaluation
from trainer.data.events import Events
from trainer.data.matrix import MOST_PAIRS, item_pairs
from trainer.evaluate import baselines
from trainer.evaluate.bootstrap import interval, resampled_means
from trainer.evaluate.ranking import Ranks, case_metrics, list_metrics, metrics
from twotower.arrays import Float64, Int64

log = logging.getLogger(__name__)

# system → metric → one value for each test case that has a target
PerCase = dict[str, dict[str, Float64]]


def fitted_baselines(
    events: Events, test_stop: Int64, products: int, config: Evaluation
) -> dict[str, baselines.Scorer]:
    """The baselines of evaluation, fitted on what the tested model was; those that are too large are left out aloud."""
    scorers = {"popularity": baselines.popularity_scorer(baselines.buyer_counts(events, test_stop, products))}
    if (pairs := item_pairs(events, test_stop, products)) <= MOST_PAIRS:
        scorers["item_knn"] = baselines.item_knn_scorer(events, test_stop, products)
    else:
        log.info(f"item_knn is left out: up to {pairs:,} pairs of products, the limit is {MOST_PAIRS:,}")
    if products <= config.ease_max_products:
        scorers["ease"] = baselines.ease_scorer(events, test_stop, products, config.ease_l2)
    else:
        limit = config.ease_max_products
        log.info(f"ease is left out: {products:,} products, evaluation.ease_max_products is {limit:,}")
    return scorers


def per_case(ranks: Mapping[str, Ranks], counts: Int64) -> PerCase:
    """Every metric of every system, case by case: the cases are the same for all."""
    return {name: case_metrics(one) | list_metrics(one, counts) for name, one in ranks.items()}


def means(ranks: Mapping[str, Ranks], values: PerCase, products: int) -> dict[str, dict[str, float]]:
    """The figures of each system: means over cases, coverage of the top 10, and the number of cases."""
    return {
        name: {metric: float(one.mean()) if len(one) else 0.0 for metric, one in values[name].items()}
        | {metric: one for metric, one in metrics(ranks[name], products).items() if metric in {"coverage@10", "cases"}}
        for name in ranks
    }


def intervals(values: PerCase, draws: int, seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """95 % intervals of each system's means, and of the model less each baseline on the same resampled buyers.

    Both are empty where no case has a target.
    """
    names, measured = list(values), list(values["model"])
    if not len(values["model"][measured[0]]):
        return {}, {}
    stacked = np.stack([values[name][metric] for name in names for metric in measured], axis=1)
    found = resampled_means(stacked, draws, seed).reshape(draws, len(names), len(measured))
    centre = stacked.mean(axis=0).reshape(len(names), len(measured))
    own = {
        name: {metric: interval(found[:, i, j]) for j, metric in enumerate(measured)} for i, name in enumerate(names)
    }
    model = names.index("model")
    compared: dict[str, Any] = {}
    for i, name in enumerate(names):
        for j, metric in enumerate(measured):
            if i == model:
                continue
            low, high = interval(found[:, model, j] - found[:, i, j])
            difference = float(centre[model, j] - centre[i, j])
            compared.setdefault(name, {})[metric] = {"difference": difference, "low": low, "high": high}
    return own, compared


def save_per_case(path: Path, places: Int64, values: PerCase, metric: str) -> None:
    """One metric of every system, case by case, for the gate; `places` [C] are the cases among those of the test."""
    temporary = path.with_suffix(".new.npz")
    np.savez(
        temporary,
        places=places,
        names=np.array(list(values)),
        values=np.stack([one[metric] for one in values.values()]),
    )
    temporary.replace(path)


def load_per_case(path: Path) -> tuple[Int64, dict[str, Float64]]:
    """What `save_per_case` wrote."""
    with np.load(path, allow_pickle=False) as file:
        return file["places"], dict(zip(file["names"].tolist(), file["values"], strict=True))
