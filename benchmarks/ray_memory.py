"""Memory and CPU seconds of the sequences of a training, in the machine that cuts them and in one of many workers.

The shop consists of random numbers, with 20 events a buyer. There is a worker for every 1.5 million events. Each part
is measured in a process of its own. Prints a line of JSON for each number of events.

    python -m benchmarks.ray_memory
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from torch.multiprocessing.spawn import spawn

from benchmarks.ray_sampler import sampler_settings
from benchmarks.ray_training import WEIGHTS, Shop, Size, random_events
from trainer.config.loading import load_config
from trainer.data.events import Events
from trainer.fit.softmax.sampler import Plan, Sampler
from trainer.fit.softmax.shards import cut_shard
from trainer.fit.softmax.workers import ONE_PROCESS, OneProcess
from trainer.fit.training_set import TrainingSet

_EACH, _EVENTS_OF_A_WORKER, _STEPS = 20, 1_500_000, 5


class Lonely(OneProcess):
    """The first of `count` workers, without the others: a step has this worker's share of the pairs."""

    def __init__(self, count: int) -> None:
        self.count = count


def _shop(events: int, data: TrainingSet | None = None) -> Shop:
    size = Size(products=50_000, buyers=events // _EACH, events=_EACH)
    count = max(1, events // _EVENTS_OF_A_WORKER)
    config = load_config([], ["device=cpu", f"training.batch_pairs={256 * count}"])
    return Shop(config, random_events(size) if data is None else data, size)


def _cut(_: int, events: int, folder: Path) -> None:
    """What the machine does that runs the command: it cuts all shards, and keeps one at a time."""
    shop, count = _shop(events), max(1, events // _EVENTS_OF_A_WORKER)
    before, cpu = _memory_now_mib(), time.process_time()
    sampler = shop.sampler(ONE_PROCESS)
    for rank in reversed(range(count)):
        shard = cut_shard(shop.data, sampler, rank, count)
    seconds = time.process_time() - cpu
    np.savez(folder / "shard.npz", *shard.data.events, shard.data.stop, *shard.plan)
    _note(folder / "cut.json", before, seconds)


def _work(_: int, events: int, folder: Path) -> None:
    """What a worker does before and between its steps, without the model."""
    with np.load(folder / "shard.npz") as file:
        arrays = [file[name] for name in file.files]
    columns, stop, plan = arrays[: len(Events._fields)], arrays[len(Events._fields)], arrays[-len(Plan._fields) :]
    held = sum(one.nbytes for one in arrays)
    shop = _shop(events, TrainingSet(Events(*columns), stop))
    before, cpu = _memory_now_mib(), time.process_time()
    workers = Lonely(max(1, events // _EVENTS_OF_A_WORKER))
    sampler = Sampler(shop.data, shop.size.products, WEIGHTS, sampler_settings(shop.config), workers, Plan(*plan))
    batches = sampler.epoch(0)
    for _step in range(_STEPS):
        next(batches)
    _note(folder / "work.json", before, time.process_time() - cpu, shard_mib=round(held / 2**20, 1))


def _note(path: Path, before: float, seconds: float, **more: float) -> None:
    found = {"peak_mib": round(_peak_mib()), "of_these_mib": round(_peak_mib() - before), "cpu_s": round(seconds, 1)}
    path.write_text(json.dumps(found | more), encoding="utf-8")


def _memory_now_mib() -> float:
    """Also sets the kernel's mark of the largest memory (VmHWM, Linux) back to it."""
    Path("/proc/self/clear_refs").write_text("5")
    return _peak_mib()


def _peak_mib() -> float:
    (line,) = (one for one in Path("/proc/self/status").read_text().splitlines() if one.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def measure(events: int) -> dict[str, Any]:
    """Peak memory and CPU seconds of cutting the shards, and of the first worker with its shard."""
    found: dict[str, Any] = {"events": events, "workers": max(1, events // _EVENTS_OF_A_WORKER)}
    with TemporaryDirectory() as name:
        for part, function in {"cut": _cut, "work": _work}.items():
            spawn(function, (events, Path(name)), nprocs=1)
            found[part] = json.loads((Path(name) / f"{part}.json").read_text(encoding="utf-8"))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, nargs="+", default=[3_000_000, 30_000_000])
    for events in parser.parse_args().events:
        print(json.dumps(measure(events)), flush=True)


if __name__ == "__main__":
    main()
