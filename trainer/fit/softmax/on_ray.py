"""Trains the softmax on several workers of a Ray cluster, with the same loop as in one process."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.cluster.ray_training import WorkerGroup
from trainer.config.schema import Config
from trainer.errors import Diverged
from trainer.fit.softmax.process_group import ProcessGroup
from trainer.fit.softmax.sampler import Sampler, SamplerSettings
from trainer.fit.softmax.shards import Shard, cut_shard
from trainer.fit.softmax.step_loss import TrainingInputs
from trainer.fit.softmax.training import FittedSoftmax, Schedule, fit_softmax
from trainer.fit.training_set import TrainingSet
from trainer.model.inputs import ItemFeatures
from trainer.model.towers import TwoTower
from twotower.arrays import Float32

Validate = Callable[[TwoTower], float]


@dataclass(frozen=True)
class _Job:
    """What all workers have in common. Arrays, because workers of one node share the memory of arrays."""

    model: TwoTower
    features: tuple[NDArray[Any], ...]
    titles: NDArray[Any] | None
    config: Config
    event_weights: Float32
    sampling: SamplerSettings
    folder: Path
    fingerprint: str
    epochs: int
    validate: Validate | None


def fit_on_ray(
    model: TwoTower,
    inputs: TrainingInputs,
    data: TrainingSet,
    folder: Path,
    fingerprint: str,
    *,
    epochs: int = 0,
    validate: Validate | None = None,
) -> FittedSoftmax:
    """As `fit_softmax`, on `ray_workers` workers of the cluster `ray`, each with the sequences of its own buyers.

    `folder` must be one that all nodes see. Raises DataError if there is no cluster or its workers fail too often.
    """
    config, sampler = inputs.config, inputs.sampler
    if Schedule.plan(sampler, config.training, epochs).max_epochs:
        job = _Job(
            model=copy.deepcopy(model).cpu(),
            features=tuple(column.cpu().numpy() for column in inputs.features),
            titles=None if inputs.titles is None else inputs.titles.cpu().numpy(),
            config=config,
            event_weights=sampler.event_weights,
            sampling=sampler.settings,
            folder=folder.resolve(),
            fingerprint=fingerprint,
            epochs=epochs,
            validate=validate,
        )
        uses_gpus = inputs.features.text.device.type == "cuda"
        group = WorkerGroup(config.ray, config.ray_workers, uses_gpus, folder.resolve())
        shards = (cut_shard(data, sampler, rank, group.count) for rank in range(group.count))
        problem = group.run(train_in_worker, job, shards)
        if problem:
            raise Diverged(problem)
    # the workers have left nothing to do but to read their last checkpoint
    return fit_softmax(model, inputs, folder, fingerprint, epochs=epochs, validate=validate)


def train_in_worker(job: _Job, shard: Shard, device: torch.device) -> str:
    """One worker's part of the training; returns why it diverged, or nothing."""
    workers = ProcessGroup(device)
    features = ItemFeatures(*(_tensor(column).to(device) for column in job.features))
    sampler = Sampler(shard.data, len(features.text), job.event_weights, job.sampling, workers, shard.plan)
    titles = None if job.titles is None else _tensor(job.titles).to(device)
    inputs = TrainingInputs(features, sampler, job.config, titles)
    model = job.model.to(device)
    try:
        fit_softmax(
            model,
            inputs,
            job.folder,
            job.fingerprint,
            epochs=job.epochs,
            validate=job.validate,
            workers=workers,
        )
    except Diverged as error:  # to start again would end in the same
        return str(error)
    return ""


def _tensor(array: NDArray[Any]) -> Tensor:
    """The array without a copy: it lies in the memory of all workers of the node, and nothing writes to it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)
