"""Exports the trained towers as ONNX graphs, and checks that a graph computes the same as torch."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import nn

from trainer.export.graph import check_parity, export_graph
from trainer.external_table import replace_table
from trainer.model.inputs import ItemFeatures
from trainer.model.towers import BuyerParts, ItemTower, TwoTower
from twotower.arrays import Float32, Int64
from twotower.artifact.fsync import write_atomically
from twotower.artifact.layout import VersionLayout
from twotower.graphs.towers import BuyerPartsGraph, BuyerTower
from twotower.graphs.towers import ItemTower as ItemGraph
from twotower.history import BuyerInputs


def export_item_tower(model: TwoTower, files: VersionLayout, text_dimension: int) -> None:
    """Writes the item tower's graph, for any batch size, and its products' rows [N + 1, D] as a file of their own.

    A graph is one protobuf message, which ends at 2 GB: it holds everything but these rows.
    """
    tower = model.item.to("cpu")
    # replaced and not overwritten: another graph may have mapped the rows that were there
    with write_atomically(files.item_tower_rows) as temporary:
        np.save(temporary, np.ascontiguousarray(tower.product.weight.detach().numpy()), allow_pickle=False)
    export_graph(
        _with_few_rows(tower),
        # one tensor for each input: a tensor that is passed twice would become a single input
        (torch.randn(2, text_dimension), *(torch.zeros(2, dtype=torch.int64) for _ in range(3))),
        files.item_tower,
        {name: {0: "batch"} for name in ("text", "brand", "category", "product")},
        "vector",
    )
    graph = onnx.load(files.item_tower)
    # the exporter's name of the rows
    replace_table(graph, "product.weight", files.item_tower_rows)
    onnx.save(graph, files.item_tower)


def _with_few_rows(tower: ItemTower) -> ItemTower:
    """The same tower with two products' rows, so that the exporter copies no large table."""
    few = nn.Embedding(2, tower.product.embedding_dim, padding_idx=0)
    # the graph limits its input to this number
    few.num_embeddings = tower.product.num_embeddings
    shared = {id(module): module for module in tower.children()}
    return copy.deepcopy(tower, shared | {id(tower.product): few})


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
    model: TwoTower, graph: ItemGraph, features: ItemFeatures, rows: Int64, tolerance: float
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
