"""Writes the graph that ranks all products of a small catalogue for a few queries at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper

from trainer.external_table import external_table


def write_nearest(embeddings: Path, path: Path) -> None:
    """Writes a graph from queries [B, D] and k [1] to the scores and rows [B, k] of the nearest products, best first.

    A score is the inner product plus its number in `added` [B, N], or [1, 1] for the same number everywhere.

    The graph has no vectors of its own: it reads the file `embeddings` [N, D], which must be in the same folder.
    """
    vectors = np.load(embeddings, mmap_mode="r", allow_pickle=False)
    graph = helper.make_graph(
        [
            helper.make_node("Gemm", ["queries", "vectors", "added"], ["all_scores"], transB=1),  # [B, N]
            helper.make_node("TopK", ["all_scores", "k"], ["scores", "rows"]),
        ],
        "nearest_products",
        [
            helper.make_tensor_value_info("queries", TensorProto.FLOAT, ["batch", vectors.shape[1]]),
            helper.make_tensor_value_info("k", TensorProto.INT64, [1]),
            helper.make_tensor_value_info("added", TensorProto.FLOAT, ["added_rows", "added_columns"]),
        ],
        [
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", "k"]),
            helper.make_tensor_value_info("rows", TensorProto.INT64, ["batch", "k"]),
        ],
        [external_table("vectors", embeddings)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, {"shape": f"{vectors.shape[0]} x {vectors.shape[1]}"})
    path.write_bytes(model.SerializeToString())
