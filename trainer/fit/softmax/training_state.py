"""The state of a softmax training: what changes from step to step, and what a checkpoint must hold."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from trainer.fit.softmax.checkpoint import Checkpoints, Progress
from trainer.model.towers import TwoTower, Weights


@dataclass
class TrainingState:
    """A model in training, after `step` steps of `epoch` (0 = the first).

    `loss_sum` and `loss_steps` are those of the running epoch; `curve` has one record for each finished one.
    `best_epoch` counts from 1; 0 means that no epoch has ended. The best weights are those of the model, or lie in the
    checkpoint `saved`, the last one.
    """

    model: TwoTower
    optimiser: torch.optim.Optimizer
    checkpoints: Checkpoints
    saved: Progress | None = None
    best_score: float = -math.inf
    best_epoch: int = 0
    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    loss_steps: int = 0
    curve: list[dict[str, float]] = field(default_factory=list)

    @classmethod
    def resume(cls, folder: Path, fingerprint: str, model: TwoTower, optimiser: torch.optim.Optimizer) -> TrainingState:
        """Restores the newest checkpoint of `fingerprint` in `folder`, or begins a new training if there is none."""
        checkpoints = Checkpoints(folder, fingerprint)
        saved = checkpoints.load(model, optimiser)
        if saved is None:
            return cls(model, optimiser, checkpoints)
        return cls(model, optimiser, checkpoints, saved, epoch=saved.epoch, step=saved.step, **saved.facts)

    def save(self) -> None:
        """Writes a checkpoint."""
        progress = self.progress
        best = (progress if self._is_best else self.saved) if self.best_epoch else None
        self.checkpoints.save(progress, self.model, self.optimiser, best)
        self.saved = progress

    @property
    def progress(self) -> Progress:
        """What a checkpoint holds beside weights."""
        facts: dict[str, Any] = {
            "best_score": self.best_score,
            "best_epoch": self.best_epoch,
            "loss_sum": self.loss_sum,
            "loss_steps": self.loss_steps,
            "curve": self.curve,
        }
        return Progress(self.epoch, self.step, facts)

    @property
    def best_weights(self) -> Weights:
        """The best epoch's weights, or those of the model before its first epoch has ended.

        Reads them from the checkpoint of this step, if they are not the model's.
        """
        if self._is_best or not self.best_epoch:
            return {name: value.detach() for name, value in self.model.state_dict().items()}
        return self.checkpoints.best_weights(self.progress, self.model.log_temperature.device)

    @property
    def _is_best(self) -> bool:
        """Whether the best epoch has just ended."""
        return self.best_epoch == self.epoch and not self.step

    def end_step(self, loss: float) -> None:
        """Counts a step, and frees its gradients: the rows of a large catalogue have as many as weights."""
        self.optimiser.zero_grad()
        self.loss_sum += loss
        self.loss_steps += 1
        self.step += 1

    def end_epoch(self, seconds: float, score: float | None) -> dict[str, float]:
        """Adds the epoch's record to the curve and returns it; its weights may be the best, which `save` keeps.

        `score` is the validation metric (higher is better). Without a validation the last epoch is the best.
        """
        record = {
            "epoch": self.epoch + 1,
            "loss": self.loss_sum / max(self.loss_steps, 1),
            "seconds": round(seconds, 2),
        }
        if score is not None:
            record["validation"] = score
        record["temperature"] = float(self.model.log_temperature.detach().exp().mean())
        self.epoch, self.step, self.loss_sum, self.loss_steps = self.epoch + 1, 0, 0.0, 0
        if score is None or score > self.best_score:
            self.best_score, self.best_epoch = score or 0.0, self.epoch
        self.curve.append(record)
        return record

    def has_stalled(self, patience: int) -> bool:
        """Whether the last `patience` epochs brought no better score."""
        return bool(self.best_epoch) and self.epoch - self.best_epoch >= patience
