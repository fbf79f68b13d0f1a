"""Exports a torch module as an ONNX graph, and compares the outputs of both."""

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


def check_parity(name: str, expected: Float32, actual: Float32, tolerance: float) -> float:
    """Returns the largest difference between the outputs of torch and of a graph.

    Raises ParityError if it is above the tolerance, or NaN.
    """
    difference = float(np.abs(expected - actual).max()) if expected.size else 0.0
    # not `difference > tolerance`, which is false for NaN
    if not difference <= tolerance:
        raise ParityError(
            f"{name} differs from the trained model by {difference:.2e}, the tolerance is {tolerance:.0e}"
        )
    return difference


def export_graph(
    module: nn.Module,
    example: tuple[Tensor, ...],
    path: Path,
    axes: dict[str, dict[int, str]],
    *outputs: str,
    weights_apart: bool = False,
) -> None:
    """Writes a module as an ONNX graph. `axes` names the inputs, and their axes of variable length.

    With `weights_apart` the weights are a file beside it, `<name>.data`: ONNX Runtime maps it, and the graph, which is
    one protobuf message, stays below that format's 2 GB.
    """
    sizes: dict[str, Any] = {}
    shapes = tuple(
        {axis: sizes.setdefault(name, torch.export.Dim(name)) for axis, name in variable.items()}
        for variable in axes.values()
    )
    level = logging.getLogger("torch.onnx").level
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                module.eval(),
                example,
                str(path),
                input_names=list(axes),
                output_names=list(outputs),
                dynamic_shapes=shapes,
                external_data=weights_apart,
                dynamo=True,
                verbose=False,
                opset_version=20,
            )
    finally:
        logging.getLogger("torch.onnx").setLevel(level)


def free_parameters(module: nn.Module) -> None:
    """Frees the memory of an exported module's parameters: the module cannot be used any more.

    The exporter's rewrite rules (onnxscript) refer to the last graph, and so to its parameters, until the next export.
    """
    for parameter in module.parameters():
        parameter.data = torch.empty(0)
