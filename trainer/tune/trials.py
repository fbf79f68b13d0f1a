"""The trials of one stage: an Optuna study whose first trial is the configuration, in a journal that survives a crash.

An interrupted stage goes on as if nothing had happened: each trial's draws depend on the seed and on the trials that
ended before it, and a trial that did not end is asked for again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.pruners import MedianPruner
from optuna.samplers import TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from trainer.errors import Diverged
from trainer.fit.softmax.training import Curve
from trainer.tune.deadline import Deadline, OutOfTime
from trainer.tune.space import Settings, Space, Stage, readable

log = logging.getLogger(__name__)

_RESULT = "result"
_ENDED = (TrialState.COMPLETE, TrialState.PRUNED)


def open_journal(path: Path) -> JournalStorage:
    """The journal at this path, which may not exist yet.

    Removes what a killed process may have left: a lock, and the beginning of a line. The caller works alone.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_name(f"{path.name}.lock").unlink(missing_ok=True)
    if path.is_file():
        content = path.read_bytes()
        path.write_bytes(content[: content.rfind(b"\n") + 1])
    return JournalStorage(JournalFileBackend(str(path)))


class Trials:
    """The trials of one stage, at most `most` of them; `space` is the stage's for this configuration."""

    def __init__(self, journal: JournalStorage, stage: Stage, space: Space, seed: int, most: int) -> None:
        self._stage, self._space, self._seed, self._most = stage, space, seed, most
        # a training's first epoch says too little: a low learning rate begins slowly
        pruner = MedianPruner(n_startup_trials=1, n_warmup_steps=2)
        self._study = optuna.create_study(
            storage=journal, study_name=stage.name, direction="maximize", load_if_exists=True, pruner=pruner
        )
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            self._study.tell(trial.number, state=TrialState.FAIL)

    @property
    def ended(self) -> int:
        """How many trials were measured or pruned."""
        return len(self._study.get_trials(deepcopy=False, states=_ENDED))

    @property
    def pruned(self) -> int:
        """How many trials were pruned."""
        return len(self._study.get_trials(deepcopy=False, states=(TrialState.PRUNED,)))

    @property
    def best(self) -> FrozenTrial:
        """The best trial; the first of equals."""
        return self._study.best_trial

    def record_configured(self, settings: Settings, score: float, curve: Curve) -> None:
        """Makes the configuration the first trial, with the validation figure of each epoch of its training."""
        epochs = {int(record["epoch"]): record["validation"] for record in curve}
        first = create_trial(
            params=settings,
            distributions=self._space,
            value=score,
            intermediate_values=epochs,
            user_attrs={"settings": {}},
        )
        self._study.add_trial(first)

    def run(self, measure: Callable[[Trial, Settings], float], deadline: Deadline) -> None:
        """Measures one trial after another until the deadline, or until there are enough.

        `measure` may raise TrialPruned. A trial that raises OutOfTime is the last; the next call repeats it.
        """
        while self.ended < self._most and deadline.left > 0:
            self._study.sampler = self._sampler()
            trial = self._study.ask(self._space)
            settings = readable(trial.params)
            trial.set_user_attr("settings", settings)
            try:
                score = measure(trial, settings)
            except OutOfTime as error:
                log.info(f"{self._stage.name} trial {self.ended}: stopped, it cannot end in time: {error}")
                self._study.tell(trial, state=TrialState.FAIL)
                return
            except (optuna.TrialPruned, Diverged) as error:
                self._study.tell(trial, state=TrialState.PRUNED)
                log.info(f"{self._stage.name} trial {self.ended - 1}: pruned{_because(error)}, {_shown(settings)}")
            else:
                self._study.tell(trial, score)
                log.info(f"{self._stage.name} trial {self.ended - 1}: {score:.4f}, {_shown(settings)}")

    def close(self, result: Mapping[str, Any]) -> None:
        """Keeps the stage's result in the journal."""
        self._study.set_user_attr(_RESULT, dict(result))

    def _sampler(self) -> TPESampler:
        """A sampler for the next trial."""
        numbers = np.random.SeedSequence((self._seed, self.ended, *self._stage.name.encode()))
        return TPESampler(seed=int(numbers.generate_state(1)[0]), n_startup_trials=self._stage.random)


def closed_result(journal: JournalStorage, stage: Stage) -> dict[str, Any] | None:
    """The result that `Trials.close` kept; None if the stage has none yet."""
    if stage.name not in optuna.get_all_study_names(journal):
        return None
    result: dict[str, Any] | None = optuna.load_study(study_name=stage.name, storage=journal).user_attrs.get(_RESULT)
    return result


def settings_of(trial: FrozenTrial) -> Settings:
    """The settings that a trial changed; none for the configuration itself."""
    settings: Settings = trial.user_attrs["settings"]
    return settings


def _because(error: Exception) -> str:
    return f" ({error})" if str(error) else ""


def _shown(settings: Settings) -> str:
    return ", ".join(f"{key} {value:g}" for key, value in settings.items())
