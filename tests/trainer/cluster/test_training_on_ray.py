"""The softmax trained by one worker, then by two of a Ray cluster while one of them dies, and by one again."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from tests.trainer.fit.softmax.test_process_group import DATA, WITHOUT_DRAWS
from tests.trainer.fit.softmax.test_training import FEATURES, PRODUCTS, WEIGHTS, config, model, sampler
from trainer.cluster.ray_training import processors_each
from trainer.config.loading import load_config
from trainer.errors import DataError
from trainer.fit.softmax.on_ray import fit_on_ray
from trainer.fit.softmax.sampler import Sampler
from trainer.fit.softmax.step_loss import TrainingInputs
from trainer.fit.softmax.training import FittedSoftmax, fit_softmax
from trainer.model.towers import TwoTower

# an epoch has one checkpoint before its end
CHECKPOINT = 2


class KilledOnce:
    """A validation that the first time notes the identity of a checkpoint in `mark` and kills its process."""

    def __init__(self, mark: Path, checkpoint: Path) -> None:
        self._mark, self._checkpoint = mark, checkpoint

    def __call__(self, _: TwoTower) -> float:
        if not self._mark.exists():
            self._mark.write_text(identity(self._checkpoint), encoding="utf-8")
            os.kill(os.getpid(), signal.SIGKILL)
        return 0.5


def identity(checkpoint: Path) -> str:
    """Another one if the checkpoint is written again."""
    seen = (checkpoint / "state.json").stat()
    return f"{seen.st_ino} {seen.st_mtime_ns}"


class Trained(NamedTuple):
    """`before` and `after` identify the last checkpoint before the end of a worker, as seen then and at the end."""

    alone: FittedSoftmax
    changing: FittedSoftmax
    before: str
    after: str


def fitted(
    folder: Path, workers: int, epochs: int, validate: Callable[[TwoTower], float] | None = None
) -> FittedSoftmax:
    settings = ["training.batch_pairs=96", f"training.checkpoint_steps={CHECKPOINT}"]
    chosen = config(*WITHOUT_DRAWS, *settings, "ray=auto", f"ray_workers={workers}")
    inputs = TrainingInputs(FEATURES, Sampler(DATA, PRODUCTS, WEIGHTS, sampler(chosen).settings), chosen)
    if workers == 1:
        return fit_softmax(model(chosen), inputs, folder, "f", epochs=epochs)
    return fit_on_ray(model(chosen), inputs, DATA, folder, "f", epochs=epochs, validate=validate)


@pytest.fixture(scope="module")
def trained(ray_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """An epoch of one worker, one of two workers, whose first is killed at its end, and another one of one."""
    folder = tmp_path_factory.mktemp("trained")
    alone = fitted(folder / "alone", 1, 3)
    changing, mark = folder / "changing", folder / "mark"
    checkpoint = changing / f"00001-{CHECKPOINT:07d}"
    fitted(changing, 1, 1)
    fitted(changing, 2, 2, KilledOnce(mark, checkpoint))
    after = identity(checkpoint)
    return Trained(alone, fitted(changing, 1, 3), mark.read_text(encoding="utf-8"), after)


def test_a_training_goes_on_with_other_numbers_of_workers(trained: Trained) -> None:
    assert [one["epoch"] for one in trained.changing.curve] == [1, 2, 3]
    for one, other in zip(trained.alone.curve, trained.changing.curve, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], abs=1e-4)
    for name, value in trained.alone.weights.items():
        assert torch.allclose(value, trained.changing.weights[name], atol=1e-3), name


def test_a_killed_worker_costs_the_steps_since_the_last_checkpoint(trained: Trained) -> None:
    # a training from the beginning would have written it again
    assert trained.before == trained.after


def node(processors: float, *, alive: bool = True) -> dict[str, Any]:
    return {"Alive": alive, "Resources": {"CPU": processors}}


@pytest.mark.parametrize(("count", "processors"), [(1, 8), (2, 4), (3, 4), (4, 2), (6, 2), (7, 1)])
def test_workers_get_as_many_processors_each_as_fit_on_the_nodes(count: int, processors: int) -> None:
    assert processors_each([node(8), node(4), node(64, alive=False)], count, "auto") == processors


def test_too_few_processors_are_an_error_that_names_both_numbers() -> None:
    with pytest.raises(DataError, match="ray_workers=13: the cluster auto has 12 CPUs"):
        processors_each([node(8), node(4)], 13, "auto")


def test_workers_without_a_cluster_are_an_error() -> None:
    with pytest.raises(Exception, match="ray_workers=2 needs a Ray cluster: set ray to its address"):
        load_config([], ["ray_workers=2"])
