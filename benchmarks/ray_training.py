"""Training on two workers of a Ray cluster beside plain torch with two threads, and the bytes of a step.

The two take turns in the same processes, so that what else the machine does slows both. The shop is made of random
numbers: how fast a step is depends on the sizes alone.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from benchmarks.ray_sampler import make_sampler
from trainer.cluster.ray_training import WorkerGroup
from trainer.config.loading import load_config
from trainer.config.schema import Config
from trainer.data.events import Events
from trainer.fit.softmax.process_group import ProcessGroup
from trainer.fit.softmax.sampler import Batch, Sampler
from trainer.fit.softmax.step_loss import StepLoss, TrainingInputs
from trainer.fit.softmax.workers import ONE_PROCESS, Workers
from trainer.fit.training_set import TrainingSet
from trainer.model.inputs import ItemFeatures, Sizes
from trainer.model.towers import TwoTower
from twotower.arrays import Float32
from twotower.events import DAY_MS

_TEXT, _BRANDS, _CATEGORIES = 384, 200, 100
WEIGHTS: Float32 = np.array([0, 1, 5, 10], np.float32)
_WARM_UP = 2


class Size(NamedTuple):
    """The shop, and how many rounds of how many steps with how many pairs are measured."""

    products: int = 50_000
    buyers: int = 20_000
    events: int = 20
    rounds: int = 5
    steps: int = 6
    pairs: int = 512


class Cost(NamedTuple):
    """Of some steps: pairs, wall seconds, and CPU seconds of all workers."""

    pairs: int
    seconds: float
    cpu_seconds: float


@dataclass(frozen=True)
class Shop:
    """What all workers need: whole batches as well, for the turn of plain torch."""

    config: Config
    data: TrainingSet
    size: Size

    def sampler(self, workers: Workers) -> Sampler:
        return make_sampler(self.config, self.data, self.size.products, WEIGHTS, workers)

    def features(self) -> ItemFeatures:
        draw, count = torch.Generator().manual_seed(0), self.size.products
        return ItemFeatures(
            torch.randn(count, _TEXT, generator=draw),
            torch.randint(1, _BRANDS + 1, (count,), generator=draw),
            torch.randint(1, _CATEGORIES + 1, (count,), generator=draw),
            torch.arange(1, count + 1),
            torch.zeros(count, 0, dtype=torch.long),
        )


class Turn:
    """A model in training, by one process or by all workers."""

    def __init__(self, shop: Shop, features: ItemFeatures, workers: Workers, threads: int) -> None:
        torch.manual_seed(0)
        sizes = Sizes(_TEXT, _BRANDS, _CATEGORIES, shop.size.products, 0, 3)
        self._model = TwoTower(sizes, shop.config.model, shop.config.training.temperature)
        self._optimiser = torch.optim.AdamW(self._model.parameters(), lr=1e-3, fused=True)
        self._workers, self._threads, self._steps = workers, threads, shop.size.steps
        inputs = TrainingInputs(features, shop.sampler(workers), shop.config)
        self._rows = workers.divide(self._model.item.product, self._optimiser)
        self._loss = workers.synchronise(StepLoss(self._model, inputs, workers), self._model.item.product.weight)
        self._batches: Iterator[Batch] = inputs.sampler.epoch(0)
        self.make(_WARM_UP)

    def make(self, steps: int = 0) -> Cost:
        """Makes steps as `fit_softmax` does, on this turn's number of threads."""
        torch.set_num_threads(self._threads)
        pairs, started, cpu = 0, time.perf_counter(), time.process_time()
        for _ in range(steps or self._steps):
            batch = next(self._batches)
            self._rows.fetch([1 + products for products in batch.encoded])
            self._loss(batch).backward()
            self._rows.return_gradient()
            self._optimiser.step()
            self._optimiser.zero_grad()
            pairs += batch.all_pairs
        own = torch.tensor(time.process_time() - cpu, dtype=torch.float64)
        return Cost(pairs, time.perf_counter() - started, float(self._workers.total(own)))


def measure_training(size: Size = Size()) -> dict[str, Any]:  # noqa: B008 (a tuple)
    """Pairs a second of one process with 2 threads, of one worker and of two, with 1 thread each; bytes of a step."""
    with tempfile.TemporaryDirectory() as folder:
        group = WorkerGroup("local", 2, uses_gpus=False, folder=Path(folder))
        shop = Shop(
            load_config([], ["device=cpu", "ray=local", f"training.batch_pairs={size.pairs}"]),
            random_events(size),
            size,
        )
        found: dict[str, Any] = group.run(_measure, shop, [None, None])
    return found


def _measure(shop: Shop, _: None, device: torch.device) -> dict[str, Any]:
    workers, features = ProcessGroup(device), shop.features()
    plain = {
        "torch, 2 threads": Turn(shop, features, ONE_PROCESS, 2),
        "1 worker": Turn(shop, features, ONE_PROCESS, 1),
    }
    together = Turn(shop, features, workers, 1)
    workers.received.clear()
    costs: dict[str, list[Cost]] = {name: [] for name in (*plain, "2 workers")}
    for _round in range(shop.size.rounds):
        for name, turn in plain.items():
            if workers.rank == 0:
                costs[name].append(turn.make())
            workers.from_first(0.0)  # the others wait
        costs["2 workers"].append(together.make())
    steps = shop.size.rounds * shop.size.steps
    return {
        "pairs_per_second": {name: _median(one, "seconds") for name, one in costs.items() if one},
        "pairs_per_cpu_second": {name: _median(one, "cpu_seconds") for name, one in costs.items() if one},
        "time_beside_torch": _ratio(costs, "seconds"),
        "cpu_beside_torch": _ratio(costs, "cpu_seconds"),
        "received_bytes_per_step": {name: size // steps for name, size in workers.received.items()},
        "dense_table_bytes": shop.size.products * shop.config.model.dimension * 4,
        "size": shop.size._asdict(),
    }


def _median(costs: list[Cost], field: str) -> float:
    return round(statistics.median(one.pairs / getattr(one, field) for one in costs), 1)


def _ratio(costs: dict[str, list[Cost]], field: str) -> float | None:
    """Median over the rounds of the seconds of a pair on 2 workers, divided by those of plain torch."""
    rounds = zip(costs["2 workers"], costs["torch, 2 threads"], strict=False)
    each = [getattr(one, field) / one.pairs / (getattr(two, field) / two.pairs) for one, two in rounds]
    return round(statistics.median(each), 3) if each else None


def random_events(size: Size) -> TrainingSet:
    """Histories of one length; products by Zipf's law."""
    draw = np.random.default_rng(0)
    shares = 1 / np.arange(1, size.products + 1)
    count = size.buyers * size.events
    product = draw.choice(size.products, count, p=shares / shares.sum()).astype(np.int32)
    moment = np.tile(np.arange(size.events) * DAY_MS, size.buyers)
    start = np.arange(0, count + 1, size.events)
    buyer = np.repeat(np.arange(size.buyers, dtype=np.int32), size.events)
    kind = draw.integers(1, 4, size=count).astype(np.int8)
    return TrainingSet(Events(buyer, product, kind, moment, start), start[1:])
