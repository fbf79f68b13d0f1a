"""Checkpoints of a training: safetensors for arrays, JSON for the rest."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from twotower.artifact.fsync import write_atomically

_KEPT = 2


class Progress(NamedTuple):
    """A training after `step` steps of `epoch` (0 = the first). `facts` is what else the loop must restore, as JSON."""

    epoch: int
    step: int
    facts: dict[str, Any]

    @property
    def name(self) -> str:
        """The name of its checkpoint; later ones sort behind it."""
        return f"{self.epoch:05d}-{self.step:07d}"


@dataclass(frozen=True)
class Checkpoints:
    """A folder of checkpoints. Only those of the same `fingerprint` (data and configuration) are resumed."""

    folder: Path
    fingerprint: str

    def save(
        self, progress: Progress, model: nn.Module, optimiser: torch.optim.Optimizer, best: Progress | None
    ) -> None:
        """Writes a checkpoint atomically and removes all but the newest two.

        `best`: the checkpoint that holds the best weights, which this one will hold too. It is this one if the model's
        are the best so far, and None if there are none yet. Best weights are written once: files are linked.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        tensors, numbers = _flatten(optimiser)
        content = {"fingerprint": self.fingerprint, **progress._asdict(), "optimiser": numbers}
        with write_atomically(self.folder / progress.name) as temporary:
            temporary.mkdir()
            save_file(_on_cpu(model.state_dict()), temporary / "model.safetensors")
            if best is not None:
                source = temporary / "model.safetensors" if best == progress else self._best(best)
                os.link(source, temporary / "best.safetensors")
            save_file(tensors, temporary / "optimiser.safetensors")
            (temporary / "state.json").write_text(json.dumps(content), encoding="utf-8")
        for old in self._complete()[:-_KEPT]:
            shutil.rmtree(old)

    def load(self, model: nn.Module, optimiser: torch.optim.Optimizer) -> Progress | None:
        """Restores model and optimiser from the newest checkpoint and returns its progress.

        Returns None, and changes nothing, if there is no checkpoint of this fingerprint.
        """
        for path in reversed(self._complete()):
            content = json.loads((path / "state.json").read_text(encoding="utf-8"))
            if content["fingerprint"] != self.fingerprint:
                continue
            model.load_state_dict(load_file(path / "model.safetensors"))
            _restore(optimiser, load_file(path / "optimiser.safetensors"), content["optimiser"])
            return Progress(content["epoch"], content["step"], content["facts"])
        return None

    def best_weights(self, progress: Progress, device: torch.device) -> dict[str, Tensor]:
        """The best weights that the checkpoint of `progress` holds."""
        return load_file(self._best(progress), device=str(device))

    def _best(self, progress: Progress) -> Path:
        return self.folder / progress.name / "best.safetensors"

    def _complete(self) -> list[Path]:
        """Checkpoints that were written to the end, oldest first."""
        if not self.folder.is_dir():
            return []
        return sorted(
            path for path in self.folder.iterdir() if not path.name.startswith(".") and (path / "state.json").is_file()
        )


def _on_cpu(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().to("cpu").contiguous() for name, value in tensors.items()}


def _flatten(optimiser: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The optimiser's tensors and its other numbers, each by "parameter.name"."""
    state = optimiser.state_dict()["state"]
    entries = {f"{key}.{name}": value for key, one in state.items() for name, value in one.items()}
    tensors = {name: value.detach().cpu() for name, value in entries.items() if torch.is_tensor(value)}
    numbers = {name: value for name, value in entries.items() if not torch.is_tensor(value)}
    return tensors, numbers


def _restore(optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor], numbers: dict[str, Any]) -> None:
    state: dict[int, dict[str, Any]] = {}
    for place, value in [*tensors.items(), *numbers.items()]:
        key, _, name = place.partition(".")
        state.setdefault(int(key), {})[name] = value
    # the parameter groups come from the configuration, and the learning rate is set at every step
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
