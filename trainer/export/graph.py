"""Exports one module to ONNX and compares the outputs."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trainer.errors import ParityError
from twotower.arrays import Float32


def compare(name: str, wanted: Float32, got: Float32, tolerance: float) -> float:
    """Largest difference between what torch and a graph give; ParityError above the tolerance."""
    difference = float(np.abs(wanted - got).max()) if wanted.size else 0.0
    # not "difference > tolerance": NaN must fail too
    if not difference <= tolerance:
        raise ParityError(
            f"{name} differs from the trained model by {difference:.2e}, the tolerance is {tolerance:.0e}"
        )
    return difference


def export_graph(
    module: nn.Module, example: tuple[Tensor, ...], path: Path, axes: dict[str, dict[int, str]], output: str
) -> None:
    """Writes a module as ONNX graph: `axes` names the inputs and which of their axes have any length."""
    sizes: dict[str, Any] = {}
    shapes = tuple(
        {axis: sizes.setdefault(name, torch.export.Dim(name)) for axis, name in one.items()} for one in axes.values()
    )
    level = logging.getLogger("torch.onnx").level
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                module.eval(), example, str(path), input_names=list(axes), output_names=[output],
                dynamic_shapes=shapes, external_data=False, dynamo=True, verbose=False, opset_version=20,
            )  # fmt: skip
    finally:
        logging.getLogger("torch.onnx").setLevel(level)
