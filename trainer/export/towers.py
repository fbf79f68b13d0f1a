"""Exports the trained towers as ONNX graphs, and checks that a graph computes the same as torch."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from trainer.export.graph import check_parity, export_graph
from trainer.model.inputs import ItemFeatures
from trainer.model.towers import BuyerParts, TwoTower
from twotower.arrays import Float32, Int64
from twotower.graphs.towers import BuyerPartsGraph, BuyerTower, ItemTower
from twotower.history import BuyerInputs


def export_item_tower(model: TwoTower, path: Path, text_dimension: int) -> None:
    """Writes the item tower's graph, for any batch size."""
    export_graph(
        model.item.to("cpu"),
        # one tensor for each input: a tensor that is passed twice would become a single input
        (torch.randn(2, text_dimension), *(torch.zeros(2, dtype=torch.int64) for _ in range(3))),
        path,
        {name: {0: "batch"} for name in ("text", "brand", "category", "product")},
        "vector",
    )


def export_buyer_tower(model: TwoTower, path: Path) -> None:
    """Writes the buyer tower's graph, for any batch size and history length."""
    _export_buyer(model.buyer.to("cpu"), model, path, "vector")


def export_buyer_parts(model: TwoTower, path: Path) -> None:
    """Writes the graph that gives the buyer tower's vectors as sums, for any batch size and history length."""
    _export_buyer(BuyerParts(model.buyer.to("cpu")), model, path, "parts")


def _export_buyer(module: nn.Module, model: TwoTower, path: Path, output: str) -> None:
    dimension = model.item.projection.out_features
    kinds = (torch.float32, torch.int64, torch.float32, torch.bool)
    export_graph(
        module,
        (torch.randn(2, 3, dimension), *(torch.ones(2, 3).to(kind) for kind in kinds)),
        path,
        {name: {0: "batch", 1: "length"} for name in ("items", "weights", "types", "ages", "mask")},
        output,
    )


def check_item_parity(
    model: TwoTower, graph: ItemTower, features: ItemFeatures, rows: Int64, tolerance: float
) -> float:
    """Returns the largest difference between torch and the item graph on real rows.

    The graph has no attributes: the model's weights must be `folded`. Raises ParityError above the tolerance.
    """
    part = ItemFeatures(*(column[rows] for column in features))
    with torch.no_grad():
        expected = model.eval().items(part).numpy()
    return check_parity("item_tower.onnx", expected, graph.encode(*(column.numpy() for column in part[:4])), tolerance)


def check_buyer_parity(
    model: TwoTower, graph: BuyerTower, items: Float32, batch: BuyerInputs, tolerance: float
) -> float:
    """Returns the largest difference between torch and the buyer graph on real histories.

    Raises ParityError above the tolerance.
    """
    gathered = items[batch.rows]
    arrays = (gathered, batch.weights, batch.types, batch.ages, batch.mask)
    with torch.no_grad():
        expected = model.buyer.eval()(*(torch.from_numpy(array) for array in arrays)).numpy()
    return check_parity("buyer_tower.onnx", expected, graph.encode(gathered, batch), tolerance)


def check_parts_parity(
    vectors: BuyerTower, parts: BuyerPartsGraph, items: Float32, batch: BuyerInputs, tolerance: float
) -> float:
    """Returns the largest difference between the graph's vectors and the sums of their parts, on real histories.

    Raises ParityError above the tolerance.
    """
    gathered = items[batch.rows]
    expected = vectors.encode(gathered, batch)
    return check_parity("buyer_parts.onnx", expected, parts.encode(gathered, batch).sum(axis=1), tolerance)
