"""The settings that each stage searches, and configurations with other values of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from trainer.config.schema import Config

# the values of some settings, by their keys
Settings = dict[str, Any]
Space = dict[str, BaseDistribution]


@dataclass(frozen=True, eq=False)
class Stage:
    """What a stage searches, and its bounds.

    `random`: trials that are drawn at random before the sampler learns from them. `most`: trials without --trials.
    `weight`: its part of the time, relative to the other stages.
    """

    name: str
    space: Space
    random: int
    most: int
    weight: float


NEIGHBOURS = Stage(
    "neighbours",
    {
        "neighbours.steps": IntDistribution(1, 30, log=True),
        "neighbours.step_weight": FloatDistribution(0.1, 1.0),
        "neighbours.reverse": FloatDistribution(0.0, 1.0),
        "neighbours.source_power": FloatDistribution(0.0, 1.0),
        "neighbours.target_power": FloatDistribution(0.0, 1.0),
        "neighbours.max_gap_days": CategoricalDistribution((0.0, 1.0, 7.0, 30.0, 90.0)),
    },
    random=8,
    most=60,
    weight=3,
)
LINEAR = Stage(
    "linear",
    {
        "linear.l2": FloatDistribution(3.0, 3000.0, log=True),
        "linear.trend_half_life_days": FloatDistribution(3.0, 90.0, log=True),
    },
    random=4,
    most=20,
    weight=2,
)
# few of its trials fit into a budget: from the second on they stay near the best one
SOFTMAX = Stage(
    "softmax",
    {
        "training.learning_rate": FloatDistribution(0.0005, 0.01, log=True),
        "training.temperature": FloatDistribution(0.02, 0.3, log=True),
        "training.weight_decay": FloatDistribution(0.001, 0.3, log=True),
        "training.max_epochs": IntDistribution(1, 12, log=True),
        "model.vector_dropout": FloatDistribution(0.0, 0.7),
        "model.half_life_days": CategoricalDistribution((0.0, 30.0, 90.0, 180.0)),
    },
    random=1,
    most=1000,
    weight=5,
)


def share_of(stage: Stage, following: Sequence[Stage], left: float, training: float) -> float:
    """The share of the time that is `left` for a stage before the `following` ones.

    The softmax has none if a training, which takes so many seconds, does not fit into its part. Both in seconds.
    """
    others = sum(one.weight for one in following)
    if SOFTMAX in following and training > left * SOFTMAX.weight / (stage.weight + others):
        others -= SOFTMAX.weight
    return stage.weight / (stage.weight + others)


def space_of(stage: Stage, config: Config) -> Space:
    """The settings of a stage; a choice among values has the configured one too."""
    return {key: _with_value(kind, setting(config, key)) for key, kind in stage.space.items()}


def configured(space: Space, config: Config) -> Settings:
    """The configured values, as the sampler may know them: inside the bounds."""
    return {key: _inside(kind, setting(config, key)) for key, kind in space.items()}


def setting(config: Config, key: str) -> Any:
    """The value of `section.name`."""
    section, name = key.split(".")
    return getattr(getattr(config, section), name)


def with_settings(config: Config, settings: Mapping[str, Any]) -> Config:
    """The configuration with other values, checked as those of a file are."""
    content = config.model_dump()
    for key, value in settings.items():
        section, name = key.split(".")
        content[section][name] = value
    return Config.model_validate(content)


def readable(settings: Mapping[str, Any]) -> Settings:
    """The values as a person would write them: numbers with two significant digits."""
    return {key: float(f"{value:.2g}") if isinstance(value, float) else value for key, value in settings.items()}


def changed(config: Config, settings: Mapping[str, Any]) -> Settings:
    """The settings whose values differ from the configured ones."""
    return {key: value for key, value in settings.items() if value != setting(config, key)}


def _with_value(kind: BaseDistribution, value: Any) -> BaseDistribution:
    if isinstance(kind, CategoricalDistribution):
        return CategoricalDistribution(sorted({*kind.choices, value}))
    return kind


def _inside(kind: BaseDistribution, value: Any) -> Any:
    if isinstance(kind, (FloatDistribution, IntDistribution)):
        return min(max(value, kind.low), kind.high)
    return value
