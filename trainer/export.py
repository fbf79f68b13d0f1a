"""Trained towers to ONNX graphs, and the proof that a graph computes what torch does."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainer.errors import ParityError
from trainer.model.inputs import ItemFeatures
from trainer.model.towers import TwoTower
from twotower.arrays import Float32
from twotower.graphs.towers import BuyerTower, ItemTower
from twotower.history import BuyerInputs


def export_item_tower(model: TwoTower, path: Path, text_dimension: int) -> None:
    """Writes the item tower's graph, any batch size."""
    export_graph(
        model.item.to("cpu"),
        # a tensor of its own for every input: one that is passed twice becomes one input
        (torch.randn(2, text_dimension), *(torch.zeros(2, dtype=torch.int64) for _ in range(3))),
        path,
        {name: {0: "batch"} for name in ("text", "brand", "category", "product")},
        "vector",
    )


def export_buyer_tower(model: TwoTower, path: Path) -> None:
    """Writes the buyer tower's graph, any batch size and history length."""
    dimension = model.item.projection.out_features
    kinds = (torch.float32, torch.int64, torch.float32, torch.bool)
    export_graph(
        model.buyer.to("cpu"),
        (torch.randn(2, 3, dimension), *(torch.ones(2, 3).to(kind) for kind in kinds)),
        path,
        {name: {0: "batch", 1: "length"} for name in ("items", "weights", "types", "ages", "mask")},
        "vector",
    )


def check_item_parity(
    model: TwoTower, graph: ItemTower, features: ItemFeatures, rows: NDArray[np.int64], tolerance: float
) -> float:
    """Largest difference between torch and the item graph on real rows; ParityError above the tolerance.

    The graph knows no attributes: the model's weights are `folded`.
    """
    part = ItemFeatures(*(column[rows] for column in features))
    with torch.no_grad():
        wanted = model.eval().items(part).numpy()
    return compare("item_tower.onnx", wanted, graph.encode(*(column.numpy() for column in part[:4])), tolerance)


def check_buyer_parity(
    model: TwoTower, graph: BuyerTower, items: Float32, batch: BuyerInputs, tolerance: float
) -> float:
    """Largest difference between torch and the buyer graph on real histories; ParityError above the tolerance."""
    gathered = items[batch.rows]
    arrays = (gathered, batch.weights, batch.types, batch.ages, batch.mask)
    with torch.no_grad():
        wanted = model.buyer.eval()(*(torch.from_numpy(array) for array in arrays)).numpy()
    return compare("buyer_tower.onnx", wanted, graph.encode(gathered, batch), tolerance)


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
