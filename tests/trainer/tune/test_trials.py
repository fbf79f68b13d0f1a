"""The trials of a stage: seeded, pruned, within their time, and the same after an interruption."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import Trial, TrialState

from tests.trainer.tune.test_deadline import Clock
from trainer.errors import Diverged
from trainer.tune.deadline import Deadline, OutOfTime
from trainer.tune.space import Settings, Space, Stage
from trainer.tune.trials import Trials, closed_result, open_journal, settings_of

SPACE: Space = {
    "a.rate": FloatDistribution(0.001, 1.0, log=True),
    "a.steps": IntDistribution(1, 20),
    "a.gap": CategoricalDistribution((0.0, 7.0)),
}
STAGE = Stage("toy", SPACE, random=3, most=100, weight=1)
CONFIGURED: Settings = {"a.rate": 0.1, "a.steps": 5, "a.gap": 0.0}
LONG = Deadline.after(60)


def trials_in(folder: Path, most: int, seed: int = 7) -> Trials:
    trials = Trials(open_journal(folder / "journal.log"), STAGE, SPACE, seed, most)
    if not trials.ended:
        trials.record_configured(CONFIGURED, 0.5, [])
    return trials


def score(_: Trial, settings: Settings) -> float:
    return -abs(settings["a.rate"] - 0.02) - 0.01 * abs(settings["a.steps"] - 11) - 0.1 * bool(settings["a.gap"])


def ended(folder: Path) -> list[tuple[TrialState, Settings, float | None]]:
    """State, values and figure of each trial that ended."""
    study = optuna.load_study(study_name="toy", storage=open_journal(folder / "journal.log"))
    return [(one.state, one.params, one.value) for one in study.trials if one.state != TrialState.FAIL]


def test_the_first_trial_is_the_configuration_and_the_seed_gives_the_others(tmp_path: Path) -> None:
    for name, seed in (("one", 7), ("two", 7), ("other", 8)):
        trials_in(tmp_path / name, 12, seed).run(score, LONG)
    found = ended(tmp_path / "one")
    assert len(found) == 12
    assert found[0] == (TrialState.COMPLETE, CONFIGURED, 0.5)
    assert len({one[1]["a.rate"] for one in found}) == 12
    assert found == ended(tmp_path / "two")
    assert found[1:] != ended(tmp_path / "other")[1:]


def test_an_interrupted_search_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    trials_in(whole, 12).run(score, LONG)
    for last in (2, 3, 8):
        calls = 0

        def interrupted(trial: Trial, settings: Settings, last: int = last) -> float:
            nonlocal calls
            calls += 1
            if calls == last:
                raise KeyboardInterrupt
            return score(trial, settings)

        with pytest.raises(KeyboardInterrupt):
            trials_in(broken, 12).run(interrupted, LONG)
        # what a killed process leaves
        with (broken / "journal.log").open("a") as journal:
            journal.write('{"op_code":4,"wor')
        (broken / "journal.log.lock").symlink_to(broken / "journal.log")
    trials_in(broken, 12).run(score, LONG)
    assert ended(broken) == ended(whole)


def epochs(*figures: float) -> Callable[[Trial, Settings], float]:
    """A training with these figures of its epochs, which the pruner may end."""

    def train(trial: Trial, settings: Settings) -> float:
        for epoch, figure in enumerate(figures, start=1):
            trial.report(figure, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned(f"after epoch {epoch}")
        return max(figures)

    return train


def pruning(folder: Path, measure: Callable[[Trial, Settings], float]) -> tuple[int, Any]:
    """How many trials were pruned, and the best figure."""
    trials = Trials(open_journal(folder / "journal.log"), STAGE, SPACE, 7, 2)
    curve = [{"epoch": epoch + 1, "validation": figure} for epoch, figure in enumerate((0.2, 0.4, 0.5))]
    trials.record_configured(CONFIGURED, 0.5, curve)
    trials.run(measure, LONG)
    assert trials.ended == 2
    return trials.pruned, trials.best.value


def test_a_training_below_the_median_is_pruned_but_not_after_its_first_epoch(tmp_path: Path) -> None:
    assert pruning(tmp_path / "slow", epochs(0.1, 0.45, 0.6)) == (0, 0.6)
    assert pruning(tmp_path / "bad", epochs(0.3, 0.35, 0.9)) == (1, 0.5)


def test_a_training_that_diverges_is_pruned(tmp_path: Path, logged: pytest.LogCaptureFixture) -> None:
    def diverge(trial: Trial, settings: Settings) -> float:
        raise Diverged("the loss is nan")

    assert pruning(tmp_path, diverge) == (1, 0.5)
    assert any(line.startswith("toy trial 1: pruned (the loss is nan), a.rate ") for line in logged.messages)


def test_other_errors_are_not_swallowed(tmp_path: Path) -> None:
    def fail(trial: Trial, settings: Settings) -> float:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        trials_in(tmp_path, 3).run(fail, LONG)


def test_trials_end_with_the_time_and_the_one_that_cannot_end_is_asked_again(tmp_path: Path) -> None:
    clock, asked = Clock(), []

    def measure(trial: Trial, settings: Settings) -> float:
        asked.append(settings)
        if clock.now > 140:
            raise OutOfTime(30)
        clock.now += 25
        return score(trial, settings)

    first = trials_in(tmp_path, 100)
    first.run(measure, Deadline.after(1, clock))
    # two trials end, the third is stopped; the configuration is the fourth
    assert (first.ended, len(asked)) == (3, 3)
    first.run(measure, Deadline(at=100, clock=clock))
    assert len(asked) == 3
    clock.now = 100
    second = trials_in(tmp_path, 100)
    second.run(measure, Deadline.after(1, clock))
    assert asked[3] == asked[2]
    assert len(ended(tmp_path)) == second.ended == 5


def test_a_closed_stage_keeps_its_result(tmp_path: Path) -> None:
    journal = open_journal(tmp_path / "journal.log")
    assert closed_result(journal, STAGE) is None
    trials = trials_in(tmp_path, 2)
    assert closed_result(open_journal(tmp_path / "journal.log"), STAGE) is None
    assert settings_of(trials.best) == {}
    trials.close({"before": 0.5, "settings": {"a.steps": 3}})
    assert closed_result(open_journal(tmp_path / "journal.log"), STAGE) == {"before": 0.5, "settings": {"a.steps": 3}}
