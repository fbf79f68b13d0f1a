"""The training loop of the softmax model: epochs, validation, early stopping, checkpoints."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from trainer.config.schema import Training
from trainer.errors import Diverged
from trainer.fit.softmax.sampler import Batch, Sampler
from trainer.fit.softmax.step_loss import StepLoss, TrainingInputs
from trainer.fit.softmax.training_state import TrainingState
from trainer.fit.softmax.workers import ONE_PROCESS, Rows, Workers
from trainer.model.towers import TwoTower, Weights
from trainer.progress import track

log = logging.getLogger(__name__)

# one record for each epoch of a training
Curve = list[dict[str, float]]


class FittedSoftmax(NamedTuple):
    """The best weights, the epoch that gave them (1 = the first), and one record for each epoch."""

    weights: Weights
    best_epoch: int
    curve: Curve


class Schedule(NamedTuple):
    """The length of a training: `planned_epochs` set the learning rate, `max_epochs` and `patience` end the training.

    `steps` are those of the first epoch.
    """

    steps: int
    planned_epochs: int
    max_epochs: int
    patience: int

    @classmethod
    def plan(cls, sampler: Sampler, settings: Training, epochs: int) -> Schedule:
        """Plans at most `epochs`, or `planned_epochs()` if that is 0; none if there are no training pairs."""
        planned = planned_epochs(sampler, settings)
        # if training.min_steps asks for more epochs than max_epochs, patience grows with them
        patience = math.ceil(settings.patience * planned / settings.max_epochs)
        return cls(sampler.steps(0), planned, (epochs or planned) if planned else 0, patience)


def pick_device(name: str) -> torch.device:
    """The configured device; `auto` is a GPU if there is one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def fit_softmax(
    model: TwoTower,
    inputs: TrainingInputs,
    folder: Path,
    fingerprint: str,
    *,
    epochs: int = 0,
    validate: Callable[[TwoTower], float] | None = None,
    watch: Callable[[Curve], None] | None = None,
    workers: Workers = ONE_PROCESS,
) -> FittedSoftmax:
    """Trains for at most `epochs` (0 = `planned_epochs()`); resumes a checkpoint of `fingerprint` in `folder`.

    With `validate` (higher is better) it returns the best epoch's weights and stops early after `training.patience`
    epochs without a better score; without it, the last epoch's weights. `watch` is called with the curve after each
    epoch's checkpoint; an error that it raises ends the training. Every random draw of a step depends on (seed,
    epoch, step) alone, so a resumed training ends in the same weights as an uninterrupted one. Raises Diverged if the
    loss is not finite.

    All `workers` call this with the same model and `folder`, each with a sampler of its own events. They all return the
    same; the first validates, writes the checkpoints and calls `watch`. A resumed training may have more or fewer.
    """
    config, is_first = inputs.config, workers.rank == 0
    optimiser = _new_optimiser(model, config.training)
    state = TrainingState.resume(folder, fingerprint, model, optimiser)
    if state.epoch or state.step:
        log.info(f"resuming after epoch {state.epoch}, step {state.step}")
    schedule = Schedule.plan(inputs.sampler, config.training, epochs)
    rows = workers.divide(model.item.product, optimiser)
    steps = _Steps(state, StepLoss(model, inputs, workers), rows, workers)
    while state.epoch < schedule.max_epochs and not (validate and state.has_stalled(schedule.patience)):
        started = time.monotonic()
        steps.train_epoch(inputs, schedule)
        seconds = time.monotonic() - started
        with rows.whole():
            score = workers.from_first(validate(model) if is_first else 0.0) if validate else None
            record = state.end_epoch(seconds, score)
            if is_first:
                state.save()
        shown = "" if score is None else f", validation {config.evaluation.metric} {score:.4f}"
        pace = inputs.sampler.pairs / max(seconds, 1e-9)
        log.info(f"epoch {state.epoch}: loss {record['loss']:.4f}{shown}, {pace:,.0f} pairs/s")
        if watch and is_first:
            watch(state.curve)
    workers.from_first(0.0)  # the first has written the last checkpoint, which the others may read
    return FittedSoftmax(state.best_weights, state.best_epoch, state.curve)


def planned_epochs(sampler: Sampler, settings: Training) -> int:
    """`max_epochs`, or more if `min_steps` needs them; 0 if there are no training pairs."""
    steps = sampler.steps(0)
    return max(settings.max_epochs, math.ceil(settings.min_steps / steps)) if steps else 0


def learning_rate(settings: Training, step: int, planned_steps: int) -> float:
    """Rises linearly over `warmup_steps`, then falls along half a cosine to a tenth at `planned_steps`."""
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    done = min(1.0, (step - settings.warmup_steps) / max(1, planned_steps - settings.warmup_steps))
    return settings.learning_rate * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * done)))


def _new_optimiser(model: TwoTower, settings: Training) -> torch.optim.Optimizer:
    parameters = [
        value
        for name, value in model.named_parameters()
        if value.requires_grad and (settings.learn_temperature or "temperature" not in name)
    ]
    return torch.optim.AdamW(parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True)


class _Steps:
    """Makes the steps of one process or of all workers."""

    def __init__(self, state: TrainingState, loss: StepLoss, rows: Rows, workers: Workers) -> None:
        self._state, self._rows, self._workers = state, rows, workers
        self._loss = workers.synchronise(loss, state.model.item.product.weight)

    def train_epoch(self, inputs: TrainingInputs, schedule: Schedule) -> None:
        """Makes the steps that are left of the epoch, with a checkpoint every `checkpoint_steps`."""
        state, settings, sampler, epoch = self._state, inputs.config.training, inputs.sampler, self._state.epoch
        steps, planned = sampler.steps(epoch), schedule.planned_epochs * schedule.steps
        state.model.train()
        batches = track(sampler.epoch(epoch, state.step), f"epoch {epoch + 1}", unit="batch", total=steps - state.step)
        for batch in batches:
            rate = learning_rate(settings, epoch * schedule.steps + state.step, planned)
            state.end_step(self._make(batch, inputs, rate))
            if state.step % settings.checkpoint_steps == 0 and state.step < steps:
                with self._rows.whole():
                    if self._workers.rank == 0:
                        state.save()

    def _make(self, batch: Batch, inputs: TrainingInputs, rate: float) -> float:
        """Makes one step of the optimiser and returns its loss."""
        state, workers = self._state, self._workers
        for group in state.optimiser.param_groups:
            group["lr"] = rate
        torch.manual_seed(_step_seed(inputs.config.seed, state.epoch, state.step))
        self._rows.fetch([1 + products for products in batch.encoded])  # row 0 is that of an unknown product
        loss = self._loss(batch)
        state.model.zero_grad()
        loss.backward()
        self._rows.return_gradient()
        state.optimiser.step()
        value = float(workers.total(loss.detach()))
        if not math.isfinite(value):
            raise Diverged(
                f"training diverged: the loss of epoch {state.epoch + 1}, step {state.step + 1} is {value}; "
                "lower training.learning_rate"
            )
        return value


def _step_seed(*parts: int) -> int:
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> 1)
