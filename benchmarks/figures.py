"""Figures of benchmarks.quality: means over buyers and seeds, with bootstrap intervals, and their table."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from trainer.evaluate.bootstrap import interval, resampled_means
from trainer.evaluate.ranking import Ranks, case_metrics
from twotower.arrays import Float64, Int64

METRICS = ("ndcg@10", "recall@10", "recall@100")
_RESAMPLES, _SEED = 1000, 7


class Measured(NamedTuple):
    """One system with one seed: test cases that have a target [C], their metrics [C, 3], facts of the training."""

    cases: Int64
    values: Float64
    facts: dict[str, Any]

    @classmethod
    def of(cls, ranks: Ranks, facts: dict[str, Any]) -> Measured:
        values = case_metrics(ranks)
        return cls(np.unique(ranks.case), np.stack([values[metric] for metric in METRICS], axis=1), facts)

    def describe(self) -> str:
        """The means and the facts in one line."""
        means = self.values.mean(axis=0)
        parts = [f"{metric} {mean:.4f}" for metric, mean in zip(METRICS, means, strict=True)]
        return ", ".join(parts + [f"{name} {value}" for name, value in self.facts.items()])


class Figure(NamedTuple):
    """The mean of a metric over buyers, its 95 % interval, and the mean of each seed."""

    mean: float
    low: float
    high: float
    seeds: list[float]


def figures_of(measured: Sequence[Measured]) -> dict[str, Figure]:
    """The figure of each metric; a buyer counts with the mean over the seeds in which it has a target."""
    _, place = np.unique(np.concatenate([one.cases for one in measured]), return_inverse=True)
    values = np.concatenate([one.values for one in measured])
    sums = np.stack([np.bincount(place, column) for column in values.T], axis=1)
    buyers = sums / np.bincount(place)[:, None]  # [C, 3]
    resampled = resampled_means(buyers, _RESAMPLES, _SEED)
    figures = {}
    for column, metric in enumerate(METRICS):
        low, high = interval(resampled[:, column])
        seeds = [float(one.values[:, column].mean()) for one in measured]
        figures[metric] = Figure(float(buyers[:, column].mean()), low, high, seeds)
    return figures


def table(figures: Mapping[str, Mapping[str, Figure]], marked: Collection[str]) -> str:
    """One line for each system, every figure with its interval; `marked` systems get a star."""
    width = max(map(len, figures)) + 1
    lines = [f"{'':<{width}}" + "".join(f"   {metric:<21}" for metric in METRICS)]
    for name, own in figures.items():
        cells = [f"{own[metric].mean:.4f} ({own[metric].low:.4f}-{own[metric].high:.4f})" for metric in METRICS]
        title = f"{name}*" if name in marked else name
        lines.append(f"{title:<{width}}" + "".join(f"   {cell:<21}" for cell in cells))
    return "\n".join(line.rstrip() for line in lines)
