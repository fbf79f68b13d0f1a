"""The search: stage after stage, each beginning with the model that stands, and each result judged as `run` chooses."""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import optuna
from optuna.trial import Trial

from trainer.config.schema import Config
from trainer.data.fingerprint import code_digest
from trainer.errors import DataError
from trainer.fit.fitter import Fitter
from trainer.fit.selection import LinearCandidate, combine, linear_candidate, softmax_candidate
from trainer.fit.softmax.training import Curve, FittedSoftmax, planned_epochs
from trainer.fit.validation import CaseValues, mean
from trainer.release.locks import work_folder
from trainer.stages.workspace import Run, fitter_of
from trainer.tune.deadline import Deadline, EpochTimes, OutOfTime
from trainer.tune.models import (
    Standing,
    buyers_of,
    is_better,
    measure_linear,
    measure_neighbours,
    measure_softmax,
    stand,
)
from trainer.tune.space import (
    LINEAR,
    NEIGHBOURS,
    SOFTMAX,
    Settings,
    Stage,
    changed,
    configured,
    setting,
    share_of,
    space_of,
    with_settings,
)
from trainer.tune.trials import Trials, closed_result, open_journal, settings_of

log = logging.getLogger(__name__)


class StageResult(NamedTuple):
    """What a stage found. `settings` are those that gain; none if the best trial gains too little.

    `before` and `best` are the judges' figures of what stood before and of the best trial. `configured` are the
    configured values of the settings.
    """

    stage: str
    trials: int
    pruned: int
    before: float
    best: float
    settings: Settings
    configured: Settings


class Outcome(NamedTuple):
    """The results of the stages. `metric` is measured on so many `judges`; `before` is the configuration's figure."""

    metric: str
    judges: int
    before: float
    stages: list[StageResult]

    @property
    def after(self) -> float:
        """The figure with all settings that gain."""
        return next((one.best for one in reversed(self.stages) if one.settings), self.before)


def tune_folder(run: Run) -> Path:
    """Where the search of this data and configuration keeps its journal and checkpoints."""
    name = hashlib.sha256((run.fingerprint + code_digest(["trainer.tune"])).encode()).hexdigest()
    return work_folder(run.config, run.layout) / "tune" / name[:16]


class Search:
    """One search; `most` bounds the trials of each stage, 0 leaves that to the stages."""

    def __init__(self, run: Run, deadline: Deadline, most: int = 0) -> None:
        self._run, self._deadline, self._most = run, deadline, most
        self._folder = tune_folder(run)
        self._fitter = fitter_of(run)
        self._buyers = buyers_of(run, self._fitter)
        self._sampler = self._fitter.sampler(self._buyers.data)
        self._journal = open_journal(self._folder / "journal.log")
        # seconds that it took to judge a stage's result, and to score a trial
        self._judging = self._scoring = 0.0

    def search(self) -> Outcome:
        """Runs the stages that no earlier call has ended; the last one goes on in each call.

        Raises DataError if the configuration alone cannot be trained in time.
        """
        stages = self._stages()
        results = self._closed(stages)
        config = with_settings(self._run.config, {key: value for one in results for key, value in one.settings.items()})
        standing = self._begin(config)
        before = results[0].before if results else self._judged(standing)
        stages = [stage for stage in stages[len(results) :] if self._has(stage, standing)]
        for place, stage in enumerate(stages):
            deadline = self._deadline_of(stage, stages[place + 1 :], standing)
            standing, result = self._run_stage(stage, standing, deadline)
            results.append(result)
        return Outcome(config.evaluation.metric, int(self._buyers.judges.sum()), before, results)

    def _stages(self) -> list[Stage]:
        """The stages that this configuration has."""
        start = self._run.config.training.start
        wanted = {
            NEIGHBOURS: bool(self._run.config.neighbours.weights),
            LINEAR: start != "softmax",
            SOFTMAX: start != "linear",
        }
        return [stage for stage, is_wanted in wanted.items() if is_wanted]

    def _closed(self, stages: list[Stage]) -> list[StageResult]:
        """The results of the leading stages that have ended, save the last stage."""
        results: list[StageResult] = []
        for stage in stages[:-1]:
            if (closed := closed_result(self._journal, stage)) is None:
                break
            results.append(StageResult(**closed))
        return results

    def _begin(self, config: Config) -> Standing:
        """Fits what the search begins with: the configuration, with the settings that ended stages have found."""
        times = EpochTimes(self._deadline, planned_epochs(self._sampler, config.training))
        fitter, data, validation = replace(self._fitter, config=config), self._buyers.data, self._buyers.validation
        linear = linear_candidate(fitter, data, validation)
        try:
            # the checkpoints of `run`: neither trains again what the other has trained
            checkpoints = self._run.workspace.checkpoints
            softmax = softmax_candidate(self._fitter, data, validation, checkpoints, times.check)
        except OutOfTime as error:
            raise DataError(
                f"the configuration's own training still takes {error.needed:.0f} s, --minutes leaves "
                f"{max(self._deadline.left, 0):.0f} s: give it more minutes; it goes on from its last checkpoint"
            ) from None
        return self._stand(fitter, linear, softmax)

    def _has(self, stage: Stage, standing: Standing) -> bool:
        """Whether there is anything to search: a linear model may be too large, and a softmax may have no pairs."""
        fitted = standing.fitted
        return bool({LINEAR: fitted.linear, SOFTMAX: fitted.softmax and fitted.softmax.curve}.get(stage, True))

    def _deadline_of(self, stage: Stage, following: Sequence[Stage], standing: Standing) -> Deadline:
        """When the trials of a stage must end, so that its result can be judged and the next stages have their part."""
        deadline, softmax = self._deadline.earlier(self._judging), standing.fitted.softmax
        training = sum(record["seconds"] for record in softmax.curve) if softmax else 0.0
        return deadline.share(share_of(stage, following, deadline.left, training))

    def _run_stage(self, stage: Stage, standing: Standing, deadline: Deadline) -> tuple[Standing, StageResult]:
        """The trials of a stage, and what stands after it."""
        config = standing.config
        space, most = space_of(stage, config), self._most or stage.most
        trials = Trials(self._journal, stage, space, config.seed, most)
        if not trials.ended and deadline.left > 0:
            score = self._score(stage, standing, standing.fitter, standing.fitted.softmax)
            curve = standing.fitted.softmax.curve if stage is SOFTMAX and standing.fitted.softmax else []
            trials.record_configured(configured(space, config), score, curve)
            log.info(f"{stage.name} trial 0: {score:.4f}, as configured")
        trials.run(self._measure(stage, standing, trials, deadline), deadline)
        before = self._judged(standing)
        found = changed(config, settings_of(trials.best)) if trials.ended else {}
        after = self._judge(stage, standing, found) if found else standing
        accepted = is_better(self._of_judges(after), self._of_judges(standing))
        result = StageResult(
            stage=stage.name,
            trials=trials.ended,
            pruned=trials.pruned,
            before=before,
            best=self._judged(after),
            settings=found if accepted else {},
            configured={key: setting(config, key) for key in space},
        )
        log.info(f"{stage.name}: {trials.ended} trials, {before:.4f} before, the best has {result.best:.4f} {found}")
        if trials.ended > 1 or most == 1:
            trials.close(result._asdict())
        return after if accepted else standing, result

    def _measure(
        self, stage: Stage, standing: Standing, trials: Trials, deadline: Deadline
    ) -> Callable[[Trial, Settings], float]:
        def measure(trial: Trial, settings: Settings) -> float:
            fitter = self._fitter_with(standing, settings)
            if self._scoring > deadline.left:
                raise OutOfTime(self._scoring)
            if stage is not SOFTMAX:
                return self._score(stage, standing, fitter, standing.fitted.softmax)
            self._keep(self._fitter_with(standing, settings_of(trials.best)), fitter)
            return self._score(stage, standing, fitter, self._train(trial, standing, fitter, deadline))

        return measure

    def _score(self, stage: Stage, standing: Standing, fitter: Fitter, softmax: FittedSoftmax | None) -> float:
        """The guides' figure of a trial; notes how long it takes."""
        began = self._deadline.clock()
        if stage is NEIGHBOURS:
            score = measure_neighbours(self._buyers, standing, fitter)
        elif stage is LINEAR:
            score = measure_linear(self._buyers, standing, fitter)
        else:
            score = measure_softmax(self._buyers, standing, fitter, softmax)
        self._scoring = self._deadline.clock() - began
        return score

    def _train(self, trial: Trial, standing: Standing, fitter: Fitter, deadline: Deadline) -> FittedSoftmax | None:
        """Trains the softmax of a trial. Raises TrialPruned or OutOfTime after an epoch."""
        planned = planned_epochs(self._sampler, fitter.config.training)
        assert standing.fitted.softmax is not None
        known = [record["seconds"] for record in standing.fitted.softmax.curve]
        deadline = deadline.earlier(self._scoring)
        if (needed := planned * sum(known) / len(known)) > deadline.left:
            raise OutOfTime(needed)
        times, reported = EpochTimes(deadline, planned), 0

        def report(curve: Curve) -> None:
            nonlocal reported
            for record in curve[reported:]:
                trial.report(record["validation"], int(record["epoch"]))
            reported = len(curve)

        def watch(curve: Curve) -> None:
            report(curve)
            if trial.should_prune():
                raise optuna.TrialPruned(f"after epoch {len(curve)} of {planned}: {curve[-1]['validation']:.4f}")
            times.check(curve)

        softmax = self._softmax(fitter, watch)
        # a training that an earlier call had ended is not watched
        report(softmax.curve if softmax else [])
        return softmax

    def _softmax(self, fitter: Fitter, watch: Callable[[Curve], None] | None = None) -> FittedSoftmax | None:
        folder = self._checkpoints(fitter)
        return softmax_candidate(fitter, self._buyers.data, self._buyers.validation, folder, watch)

    def _judge(self, stage: Stage, standing: Standing, settings: Settings) -> Standing:
        """What `run` would choose from with these settings."""
        fitter, data, validation = self._fitter_with(standing, settings), self._buyers.data, self._buyers.validation
        linear, softmax = standing.fitted.linear, standing.fitted.softmax
        if stage is LINEAR:
            linear = linear_candidate(fitter, data, validation)
        if stage is SOFTMAX:
            softmax = self._softmax(fitter)
        return self._stand(fitter, linear, softmax)

    def _stand(self, fitter: Fitter, linear: LinearCandidate | None, softmax: FittedSoftmax | None) -> Standing:
        """What `run` would choose from with these models; measures how long that takes."""
        began = self._deadline.clock()
        fitted = combine(fitter, self._buyers.data, self._buyers.validation, linear, softmax)
        standing = stand(self._buyers, fitter, fitted)
        self._judging = self._deadline.clock() - began
        return standing

    def _judged(self, standing: Standing) -> float:
        """The judges' figure."""
        return mean(self._of_judges(standing).metric)

    def _of_judges(self, standing: Standing) -> CaseValues:
        return CaseValues(*(column[self._buyers.judges] for column in standing.values))

    def _fitter_with(self, standing: Standing, settings: Settings) -> Fitter:
        config = with_settings(standing.config, settings)
        return replace(self._fitter, config=config, fingerprint=f"{self._run.fingerprint}-{config.digest()}")

    def _checkpoints(self, fitter: Fitter) -> Path:
        return self._folder / "softmax" / fitter.config.digest()[:16]

    def _keep(self, *fitters: Fitter) -> None:
        """Removes the checkpoints of all other trials."""
        kept = {self._checkpoints(fitter) for fitter in fitters}
        for folder in (self._folder / "softmax").glob("*"):
            if folder not in kept:
                shutil.rmtree(folder)
