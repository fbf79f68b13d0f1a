"""int8 graphs, against the same arithmetic in numpy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from trainer.export.quantise import quantise_graph, quantise_weight
from twotower.graphs.graph import VectorGraph


def write_graph(path: Path, weight: np.ndarray, table: np.ndarray | None = None) -> None:
    """Rows of a table [9, K], times a constant, summed over the tokens; and a product without tokens behind it."""
    if table is None:
        table = np.random.default_rng(1).normal(size=(9, weight.shape[0])).astype(np.float32)
        table[0] = 0  # a row of zeros has no scale of its own
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["tokens"]),
        helper.make_node("MatMul", ["tokens", "weight"], ["hidden"]),
        helper.make_node("ReduceSum", ["hidden", "axis"], ["pooled"], keepdims=0),
        helper.make_node("MatMul", ["pooled", "square"], ["vector"]),
    ]
    constants = {
        "table": table,
        "weight": weight,
        "axis": np.array([1]),
        "square": np.eye(weight.shape[1], dtype=np.float32),
    }
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "length"])],
        [helper.make_tensor_value_info("vector", TensorProto.FLOAT, ["batch", weight.shape[1]])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
        value_info=[
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", "length", width])
            for name, width in (("tokens", weight.shape[0]), ("hidden", weight.shape[1]))
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)


def test_weights_worked_out_by_hand() -> None:
    values, scale = quantise_weight(np.array([[1.27, 0, -3], [-0.635, 0, 1]], np.float32))
    np.testing.assert_allclose(scale[[0, 2]], [0.01, 3 / 127], rtol=1e-6)
    # 1 / (3 / 127) = 42.3; a column of zeros stays one
    assert values.dtype == np.int8 and values.tolist() == [[127, 0, -127], [-64, 0, 42]]


def test_neighbours_of_one_sign_share_the_steps() -> None:
    # pairs are rows 0 and 1, 2 and 3, and 4 alone: 1 + 1.54 and -.54 - 2 come to 2.54 each, or 127 steps of .02;
    # of 1 and -2.54 neither adds to the other, and 1.5 + 1 of rows 1 and 2 are no pair
    weight = np.array([[1, 1], [1.54, -2.54], [-0.54, 1], [-2, 0], [1, 0]], np.float32)
    values, scale = quantise_weight(weight)
    np.testing.assert_allclose(scale, [0.02, 0.02], rtol=1e-6)
    assert values.tolist() == [[50, 50], [77, -127], [-27, 50], [-100, 0], [50, 0]]


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("inputs", [16, 33])
def test_no_sum_of_products_overflows(tmp_path: Path, sign: int, inputs: int) -> None:
    """The largest activations on the largest weights: where 16 bits hold the sum of two, they would be cut off."""
    weight = np.full((inputs, 8), 0.5 * sign, np.float32)
    write_graph(tmp_path / "float.onnx", weight, np.ones((9, inputs), np.float32))
    quantise_graph(tmp_path / "float.onnx", tmp_path / "int8.onnx")
    graph = VectorGraph(tmp_path / "int8.onnx", {"input_ids": 2}, "vector", 1)
    # two tokens of ones; .5 is 63.5 of 127 steps of a pair, rounded to 64
    found = graph.vectors({"input_ids": np.array([[1, 2]])})
    np.testing.assert_allclose(found, np.full((1, 8), 2 * inputs * sign * 64 / 127), rtol=1e-6)


def test_a_graph_computes_rows_by_columns(tmp_path: Path) -> None:
    weight = np.random.default_rng(2).normal(size=(16, 5)).astype(np.float32)
    write_graph(tmp_path / "float.onnx", weight)
    assert quantise_graph(tmp_path / "float.onnx", tmp_path / "int8.onnx") == 1
    ids = np.array([[1, 2, 0], [7, 8, 3]])
    table = numpy_helper.to_array(onnx.load(tmp_path / "float.onnx").graph.initializer[0])
    rows = table[ids]  # [2, 3, 16]
    steps = np.maximum(np.abs(rows).max(axis=-1, keepdims=True), 1e-12) / 127
    whole, scale = quantise_weight(weight)
    wanted = ((np.rint(rows / steps) @ whole.astype(np.float64)) * steps * scale).sum(axis=1)
    found = VectorGraph(tmp_path / "int8.onnx", {"input_ids": 2}, "vector", 1).vectors({"input_ids": ids})
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    np.testing.assert_allclose(found, rows.sum(axis=1) @ weight, atol=0.15)
