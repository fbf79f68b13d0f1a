"""The softmax trained by workers of a Ray cluster: other numbers of workers, and workers that die."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.trainer.fit.softmax.test_process_group import DATA, WITHOUT_DRAWS
from tests.trainer.fit.softmax.test_training import FEATURES, PRODUCTS, WEIGHTS, config, model, sampler
from trainer.config.schema import Config
from trainer.errors import DataError, Diverged
from trainer.fit.softmax.on_ray import fit_on_ray
from trainer.fit.softmax.sampler import Sampler
from trainer.fit.softmax.step_loss import TrainingInputs
from trainer.fit.softmax.training import FittedSoftmax, fit_softmax

pytestmark = pytest.mark.usefixtures("ray_cluster")


def configured(workers: int, *assignments: str) -> Config:
    return config(*WITHOUT_DRAWS, "training.checkpoint_steps=2", "ray=auto", f"ray_workers={workers}", *assignments)


def fitted(folder: Path, chosen: Config, epochs: int) -> FittedSoftmax:
    own = Sampler(DATA, PRODUCTS, WEIGHTS, sampler(chosen).settings)
    inputs = TrainingInputs(FEATURES, own, chosen)
    if chosen.ray_workers == 1:
        return fit_softmax(model(chosen), inputs, folder, "f", epochs=epochs)
    return fit_on_ray(model(chosen), inputs, DATA, folder, "f", epochs=epochs)


def test_a_training_goes_on_with_another_number_of_workers(tmp_path: Path) -> None:
    alone = fitted(tmp_path / "alone", configured(1), 3)
    for workers, epochs in ((2, 1), (1, 2), (2, 3)):
        found = fitted(tmp_path / "changing", configured(workers), epochs)
    assert [one["epoch"] for one in found.curve] == [1, 2, 3]
    for name, value in alone.weights.items():
        assert torch.allclose(value, found.weights[name], atol=1e-4), name
