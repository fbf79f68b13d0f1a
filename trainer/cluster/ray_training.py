"""One training on several workers of a Ray cluster: Ray Train starts them, joins them and starts them again."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from trainer.errors import DataError

log = logging.getLogger(__name__)

# Called in each worker with what all have in common, the worker's own part, and its device. In the worker,
# `torch.distributed` is initialised. The first worker's result is returned.
Work = Callable[[Any, Any, torch.device], Any]

# how often the workers are started again before a training gives up
_FAILURES = 3


@dataclass(frozen=True)
class WorkerGroup:
    """`count` workers on the Ray cluster at `address`, on GPUs or CPUs. `folder` is one that all nodes see.

    If a worker dies, all are started again, and `work` must go on from its last checkpoint.
    """

    address: str
    count: int
    uses_gpus: bool
    folder: Path

    def run(self, work: Work, common: Any, parts: Iterable[Any]) -> Any:
        """Runs `work` on each worker with one of the `count` parts; returns what the first worker returns.

        Raises DataError if the cluster has too few CPUs or GPUs, or if the workers have failed too often.
        """
        import ray
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchTrainer
        from ray.train.v2.api.exceptions import TrainingFailedError

        from trainer.cluster.ray_cluster import RayCluster

        RayCluster(self.address)  # connects

        processors = processors_each(ray.nodes(), self.count, self.address)
        log.info(f"training on {self.count} workers, {processors} CPUs each")
        arguments = {
            "work": work,
            "common": ray.put(common),
            "parts": [ray.put(part) for part in parts],
            "threads": processors,
        }
        scratch = self.folder / ".ray"
        trainer = TorchTrainer(
            _run_in_worker,
            train_loop_config=arguments,
            scaling_config=ScalingConfig(
                num_workers=self.count, use_gpu=self.uses_gpus, resources_per_worker=self._resources(processors)
            ),
            run_config=RunConfig(
                name="training", storage_path=str(scratch), failure_config=FailureConfig(max_failures=_FAILURES)
            ),
        )
        try:
            result: Any = trainer.fit()
            return result.return_value
        except TrainingFailedError as error:
            raise DataError(f"ray={self.address}: the training of {self.count} workers failed: {error}") from error
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _resources(self, processors: int) -> dict[str, int]:
        return {"CPU": processors} | ({"GPU": 1} if self.uses_gpus else {})


def processors_each(nodes: Sequence[Mapping[str, Any]], count: int, address: str) -> int:
    """The most CPUs that each of `count` workers can have, if every worker has as many and lies on one node.

    `nodes` are as Ray lists them. Raises DataError if there are fewer CPUs than workers.
    """
    sizes = [int(node["Resources"].get("CPU", 0)) for node in nodes if node["Alive"]]
    for processors in range(max(sizes, default=0), 0, -1):
        if sum(size // processors for size in sizes) >= count:
            return processors
    raise DataError(f"ray_workers={count}: the cluster {address} has {sum(sizes)} CPUs, and each worker needs one")


def _run_in_worker(arguments: dict[str, Any]) -> Any:
    import ray
    import ray.train.torch
    from ray.train import get_context

    torch.set_num_threads(arguments["threads"])
    part = ray.get(arguments["parts"][get_context().get_world_rank()])
    return arguments["work"](ray.get(arguments["common"]), part, ray.train.torch.get_device())
