"""Hyperparameters of the linear model that validation chooses."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from trainer.config.schema import Linear


class LinearHyperparameters(NamedTuple):
    """Hyperparameters chosen on validation.

    `half_life_days` of a history's interactions (0 = age does not matter); `trend`: weight of recent popularity;
    `trust`: length of a cold product's predicted vector, 1 at most.
    """

    half_life_days: float
    trend: float
    trust: float


def choose_hyperparameters(config: Linear, score: Callable[[LinearHyperparameters], float]) -> LinearHyperparameters:
    """Maximises `score` over one hyperparameter after another: half-life, trend, trust. The first of equals wins."""
    trust = config.cold_lengths[0]
    half_life = max(config.half_lives_days, key=lambda days: score(LinearHyperparameters(days, 0.0, trust)))
    trend = max(config.trend_weights, key=lambda weight: score(LinearHyperparameters(half_life, weight, trust)))
    trust = max(config.cold_lengths, key=lambda length: score(LinearHyperparameters(half_life, trend, length)))
    return LinearHyperparameters(half_life, trend, trust)
