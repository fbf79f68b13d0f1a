"""The settings that are searched: known to the configuration, checked, and written as a person would."""

from __future__ import annotations

import pytest
from optuna.distributions import CategoricalDistribution
from pydantic import ValidationError

from trainer.config.loading import load_config
from trainer.tune.space import (
    LINEAR,
    NEIGHBOURS,
    SOFTMAX,
    Stage,
    changed,
    configured,
    readable,
    share_of,
    space_of,
    with_settings,
)

STAGES = (NEIGHBOURS, LINEAR, SOFTMAX)


@pytest.mark.parametrize("stage", STAGES, ids=[stage.name for stage in STAGES])
def test_a_configuration_takes_every_value_at_the_bounds(stage: Stage) -> None:
    config = load_config()
    for key, kind in space_of(stage, config).items():
        ends = kind.choices if isinstance(kind, CategoricalDistribution) else (kind.low, kind.high)  # type: ignore[attr-defined]
        for value in ends:
            section, name = key.split(".")
            assert getattr(getattr(with_settings(config, {key: value}), section), name) == value


def test_other_settings_stay_as_they_are() -> None:
    config = load_config([], ["training.max_epochs=3"])
    before, after = config.model_dump(), with_settings(config, {"linear.l2": 20.0}).model_dump()
    assert after["linear"].pop("l2") == 20.0
    before["linear"].pop("l2")
    assert before == after
    with pytest.raises(ValidationError, match="vector_dropout"):
        with_settings(config, {"model.vector_dropout": 1.5})


def test_the_configured_value_is_one_of_the_choices_and_inside_the_bounds() -> None:
    config = load_config([], ["neighbours.max_gap_days=12", "neighbours.steps=50", "neighbours.reverse=0.3"])
    space = space_of(NEIGHBOURS, config)
    choices = space["neighbours.max_gap_days"]
    assert isinstance(choices, CategoricalDistribution) and choices.choices == (0.0, 1.0, 7.0, 12.0, 30.0, 90.0)
    values = configured(space, config)
    assert (values["neighbours.max_gap_days"], values["neighbours.steps"]) == (12.0, 30)
    assert values["neighbours.reverse"] == 0.3


def test_numbers_get_two_digits_and_only_changes_remain() -> None:
    config = load_config([], ["linear.l2=300", "training.max_epochs=4"])
    values = readable({"linear.l2": 304.2, "training.max_epochs": 4, "training.weight_decay": 0.012345})
    assert values == {"linear.l2": 300.0, "training.max_epochs": 4, "training.weight_decay": 0.012}
    assert changed(config, values) == {"training.weight_decay": 0.012}


@pytest.mark.parametrize(
    ("stage", "following", "training", "share"),
    [
        (NEIGHBOURS, [LINEAR, SOFTMAX], 50, 0.3),
        # a training of 51 s does not fit into half of 100 s: the others have the time
        (NEIGHBOURS, [LINEAR, SOFTMAX], 51, 0.6),
        (LINEAR, [SOFTMAX], 71, 2 / 7),
        (LINEAR, [SOFTMAX], 72, 1.0),
        (NEIGHBOURS, [LINEAR], 0, 0.6),
        (SOFTMAX, [], 1000, 1.0),
    ],
)
def test_the_softmax_has_a_part_of_the_time_only_if_a_training_fits_into_it(
    stage: Stage, following: list[Stage], training: float, share: float
) -> None:
    assert share_of(stage, following, 100, training) == pytest.approx(share)
