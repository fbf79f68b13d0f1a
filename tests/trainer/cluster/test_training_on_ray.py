"""The softmax trained by workers of a Ray cluster, one of which dies, and then by another number of workers."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from tests.helpers.services import until
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


class WaitsToBeKilled:
    """A validation that the first time writes the number of its process to `mark` and waits; later it is a score."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __call__(self, _: TwoTower) -> float:
        if not self._mark.exists():
            self._mark.with_suffix(".new").write_text(str(os.getpid()), encoding="utf-8")
            self._mark.with_suffix(".new").rename(self._mark)
            time.sleep(600)
        return 0.5


class Killed(NamedTuple):
    """Of the last checkpoint before the end of the worker: the file's number and time."""

    file: int
    changed: int


class Trained(NamedTuple):
    alone: FittedSoftmax
    changing: FittedSoftmax
    before: Killed
    after: Killed


def fitted(
    folder: Path, workers: int, epochs: int, validate: Callable[[TwoTower], float] | None = None
) -> FittedSoftmax:
    chosen = config(*WITHOUT_DRAWS, "training.checkpoint_steps=2", "ray=auto", f"ray_workers={workers}")
    inputs = TrainingInputs(FEATURES, Sampler(DATA, PRODUCTS, WEIGHTS, sampler(chosen).settings), chosen)
    if workers == 1:
        return fit_softmax(model(chosen), inputs, folder, "f", epochs=epochs)
    return fit_on_ray(model(chosen), inputs, DATA, folder, "f", epochs=epochs, validate=validate)


def kill(mark: Path, checkpoint: Path, found: list[Killed]) -> None:
    """Kills the process that waits in the validation at the end of the first epoch."""
    asyncio.run(until(mark.is_file, seconds=300))
    found.append(identity(checkpoint))
    os.kill(int(mark.read_text(encoding="utf-8")), signal.SIGKILL)


def identity(checkpoint: Path) -> Killed:
    seen = (checkpoint / "state.json").stat()
    return Killed(seen.st_ino, seen.st_mtime_ns)


@pytest.fixture(scope="module")
def trained(ray_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """An epoch of two workers, of which the first is killed; one of one worker; and another one of two."""
    folder = tmp_path_factory.mktemp("trained")
    alone = fitted(folder / "alone", 1, 3)
    # the last one before the end of the epoch
    checkpoint = folder / "changing" / f"00000-{8:07d}"
    before: list[Killed] = []
    killer = threading.Thread(target=kill, args=(folder / "mark", checkpoint, before))
    killer.start()
    for workers, epochs in ((2, 1), (1, 2), (2, 3)):
        validate = WaitsToBeKilled(folder / "mark") if epochs == 1 else None
        changing = fitted(folder / "changing", workers, epochs, validate)
        if epochs == 1:
            killer.join()
            after = identity(checkpoint)
    return Trained(alone, changing, before[0], after)


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
