"""Checkpoints: safetensors for arrays, JSON for the rest, written whole or not at all."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from twotower.artifact.fsync import sync_folder

_KEEP = 2


class State(NamedTuple):
    """Where a training stands: after `step` steps of `epoch`. `facts` is what the training loop keeps (JSON)."""

    epoch: int
    step: int
    facts: dict[str, Any]


def save_checkpoint(
    folder: Path,
    fingerprint: str,
    state: State,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    best: dict[str, Tensor],
) -> None:
    """Writes `folder`/NUMBER, renamed into place after fsync, and removes all but the newest two."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{state.epoch:05d}-{state.step:07d}"
    temporary, target = folder / f".{name}.new", folder / name
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    save_file(_plain(model.state_dict()), temporary / "model.safetensors")
    save_file(_plain(best), temporary / "best.safetensors")
    tensors, numbers = _flatten(optimiser)
    save_file(tensors, temporary / "optimiser.safetensors")
    content = {
        "fingerprint": fingerprint,
        "epoch": state.epoch,
        "step": state.step,
        "facts": state.facts,
        "optimiser": numbers,
    }
    (temporary / "state.json").write_text(json.dumps(content), encoding="utf-8")
    sync_folder(temporary)
    if target.exists():
        shutil.rmtree(target)
    temporary.rename(target)
    for old in _complete(folder)[:-_KEEP]:
        shutil.rmtree(old)


def load_checkpoint(
    folder: Path, fingerprint: str, model: nn.Module, optimiser: torch.optim.Optimizer
) -> tuple[State, dict[str, Tensor]] | None:
    """Restores the newest checkpoint of the same data and configuration; None where there is none."""
    for path in reversed(_complete(folder)):
        content = json.loads((path / "state.json").read_text(encoding="utf-8"))
        if content["fingerprint"] != fingerprint:
            continue
        model.load_state_dict(load_file(path / "model.safetensors"))
        _restore(optimiser, load_file(path / "optimiser.safetensors"), content["optimiser"])
        return State(content["epoch"], content["step"], content["facts"]), load_file(path / "best.safetensors")
    return None


def _complete(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(
        path for path in folder.iterdir() if not path.name.startswith(".") and (path / "state.json").is_file()
    )


def _plain(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().to("cpu").contiguous() for name, value in tensors.items()}


def _flatten(optimiser: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    state = optimiser.state_dict()["state"]
    tensors = {
        f"{key}.{name}": value.detach().cpu()
        for key, one in state.items()
        for name, value in one.items()
        if torch.is_tensor(value)
    }
    numbers = {
        f"{key}.{name}": value
        for key, one in state.items()
        for name, value in one.items()
        if not torch.is_tensor(value)
    }
    return tensors, numbers


def _restore(optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor], numbers: dict[str, Any]) -> None:
    state: dict[int, dict[str, Any]] = {}
    for place, value in [*tensors.items(), *numbers.items()]:
        key, _, name = place.partition(".")
        state.setdefault(int(key), {})[name] = value
    # the groups' settings are the configuration's, and the learning rate is set at every step
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
