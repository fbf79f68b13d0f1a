"""Checkpoints: written whole or not at all, the newest of the same data, and the same model after `kill -9`."""

from __future__ import annotations

import signal
import time
from itertools import pairwise
from pathlib import Path

import torch
from torch import nn

from tests.helpers.processes import process
from tests.helpers.small_shop import run_arguments, trainer, write_shop
from trainer.fit.softmax.checkpoint import Checkpoints, Progress


def pair(seed: int = 0) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(seed)
    model = nn.Linear(3, 2)
    return model, torch.optim.AdamW(model.parameters(), lr=0.1)


def advance(model: nn.Module, optimiser: torch.optim.Optimizer) -> None:
    optimiser.zero_grad()
    model(torch.ones(1, 3)).sum().backward()
    optimiser.step()


def same(one: nn.Module, two: nn.Module) -> bool:
    return all(map(torch.equal, one.state_dict().values(), two.state_dict().values()))


CPU = torch.device("cpu")


def test_model_optimiser_and_facts_come_back(tmp_path: Path) -> None:
    model, optimiser = pair()
    advance(model, optimiser)
    checkpoints, progress = Checkpoints(tmp_path, "f"), Progress(2, 5, {"loss_sum": 0.1, "best": float("-inf")})
    checkpoints.save(progress, model, optimiser, None)
    other, its = pair(1)
    assert checkpoints.load(other, its) == progress
    assert same(model, other)
    # the optimiser's moments as well: the next step is the same
    advance(model, optimiser)
    advance(other, its)
    assert same(model, other)


def test_best_weights_go_from_checkpoint_to_checkpoint_and_take_no_further_space(tmp_path: Path) -> None:
    model, optimiser = pair()
    checkpoints = Checkpoints(tmp_path, "f")
    best = {name: value.clone() for name, value in model.state_dict().items()}
    every = [Progress(1, 0, {}), Progress(1, 5, {}), Progress(2, 0, {}), Progress(2, 5, {})]
    checkpoints.save(every[0], model, optimiser, every[0])
    for before, progress in pairwise(every):
        advance(model, optimiser)
        checkpoints.save(progress, model, optimiser, before)
    # the first checkpoint, which wrote them, is gone
    assert sorted(path.name for path in tmp_path.iterdir()) == ["00002-0000000", "00002-0000005"]
    kept = checkpoints.best_weights(every[3], CPU)
    assert all(torch.equal(kept[name], value) for name, value in best.items())
    assert not same(model, pair()[0])
    assert len({path.stat().st_ino for path in tmp_path.glob("*/best.safetensors")}) == 1


def test_the_newest_two_are_kept_and_the_newest_is_loaded(tmp_path: Path) -> None:
    model, optimiser = pair()
    for epoch, step in ((0, 9), (0, 10), (1, 0), (11, 2)):
        Checkpoints(tmp_path, "f").save(Progress(epoch, step, {}), model, optimiser, None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["00001-0000000", "00011-0000002"]
    found = Checkpoints(tmp_path, "f").load(model, optimiser)
    assert found is not None and (found.epoch, found.step) == (11, 2)


def test_a_partly_written_checkpoint_is_ignored(tmp_path: Path) -> None:
    model, optimiser = pair()
    Checkpoints(tmp_path, "f").save(Progress(1, 0, {}), model, optimiser, None)
    (tmp_path / ".new-00002-0000000").mkdir()
    (tmp_path / ".new-00002-0000000" / "model.safetensors").write_bytes(b"half")
    (tmp_path / "00002-0000000").mkdir()  # partly removed: its state is gone
    found = Checkpoints(tmp_path, "f").load(model, optimiser)
    assert found is not None and found.epoch == 1
    Checkpoints(tmp_path, "f").save(Progress(2, 0, {}), model, optimiser, None)
    found = Checkpoints(tmp_path, "f").load(model, optimiser)
    assert found is not None and found.epoch == 2


def test_other_data_or_no_checkpoint_is_none(tmp_path: Path) -> None:
    model, optimiser = pair()
    assert Checkpoints(tmp_path / "nowhere", "f").load(model, optimiser) is None
    Checkpoints(tmp_path, "f").save(Progress(1, 0, {}), model, optimiser, None)
    assert Checkpoints(tmp_path, "g").load(model, optimiser) is None


def test_nothing_is_pickled(tmp_path: Path) -> None:
    model, optimiser = pair()
    advance(model, optimiser)
    Checkpoints(tmp_path, "f").save(Progress(1, 0, {}), model, optimiser, Progress(1, 0, {}))
    files = sorted(path.name for path in (tmp_path / "00001-0000000").iterdir())
    assert files == ["best.safetensors", "model.safetensors", "optimiser.safetensors", "state.json"]


SLOW = [
    "training.start=softmax",
    "training.checkpoint_steps=1",
    "training.max_epochs=4",
    "training.patience=4",
    "training.batch_pairs=16",
]


def final(artifacts: Path) -> dict[str, bytes]:
    (run,) = (artifacts / "work" / "runs").iterdir()
    return {name: (run / name).read_bytes() for name in ("tested/model.safetensors", "version/model.safetensors")}


def run_and_kill(command: list[str], artifacts: Path, folder: str, after: int) -> list[str]:
    """Starts a training and kills it once `folder` has held so many checkpoints; returns what the training logged."""
    seen: set[str] = set()
    with process("-m", "trainer", *command) as running:
        end = time.monotonic() + 120
        while len(seen) < after and running.popen.poll() is None and time.monotonic() < end:
            seen |= {path.name for path in artifacts.glob(f"work/runs/*/{folder}/0*")}
            time.sleep(0.002)
        assert running.popen.poll() is None, "it was over before it could be killed:\n" + "\n".join(running.lines)
        running.popen.send_signal(signal.SIGKILL)
        running.finish()
    (run,) = (artifacts / "work" / "runs").iterdir()
    assert not (run / "version" / "model.safetensors").exists()
    return running.lines


def test_a_training_that_was_killed_twice_ends_in_the_same_bytes(tmp_path: Path) -> None:
    shop, whole, cut = write_shop(tmp_path), tmp_path / "whole", tmp_path / "cut"
    uninterrupted = trainer(*run_arguments(shop, whole, command="train", settings=SLOW))
    assert uninterrupted.returncode == 0, uninterrupted.stderr
    command = run_arguments(shop, cut, command="train", settings=SLOW)
    run_and_kill(command, cut, "checkpoints", 40)
    lines = run_and_kill(command, cut, "refit", 5)
    assert any("resuming after epoch" in line for line in lines)
    done = trainer(*command)
    assert done.returncode == 0, done.stderr
    assert "resuming after epoch" in done.stdout
    assert final(cut) == final(whole)
