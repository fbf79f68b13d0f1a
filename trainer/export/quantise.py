"""Quantises float32 graphs to int8: weights for each output channel at export, activations for each row at run time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from twotower.arrays import Float32

# unsigned activations around 128 and signed weights: x86 and Arm have dot products for this pair
_ACTIVATION_ZERO = 128
_STEPS = 127
# a row of zeros gets this scale, because the graph divides by it
_SMALLEST_SCALE = 1e-12
_MICROSOFT = "com.microsoft"


def quantise_graph(source: Path, target: Path) -> int:
    """Writes `source` with int8 weights to `target`, and returns the number of rewritten matrix products.

    The weights of both are in files beside them, with `.data` after the name.

    Weights have one scale per output channel. Activations have one scale per row, that is per token. With
    `onnxruntime.quantization.quantize_dynamic` a whole batch shares one scale, so a text's vector depends on the other
    texts of its batch. Only products of [batch, length, K] and a constant [K, N] are rewritten; the rest stays float32.
    """
    model = onnx.load(source)
    writer = _Writer({one.name: one for one in model.graph.initializer})
    sequences = set(_sequences(model.graph))
    count = 0
    for node in model.graph.node:
        if node.op_type == "MatMul" and _multiplies_tokens(node, sequences, writer.constants):
            writer.add_product(node)
            count += 1
        else:
            writer.nodes.append(node)
    _replace(model.graph, writer)
    if _MICROSOFT not in (one.domain for one in model.opset_import):
        model.opset_import.append(helper.make_opsetid(_MICROSOFT, 1))
    # unlike onnx's own function it puts large tensors at multiples of 64 KiB, where they can be mapped
    onnx_ir.save(onnx_ir.from_proto(model), target, external_data=f"{target.name}.data")
    return count


def quantise_weight(weight: Float32) -> tuple[NDArray[np.int8], Float32]:
    """Quantises [K, N] to int8 [K, N], symmetric around zero, and returns it with the scale [N] of each column.

    x86 processors without VNNI add the products of two neighbouring rows in 16 bits, and overflow silently. The scale
    is therefore chosen so that two neighbours of one sign sum to at most 127 steps (128 after rounding; 128 x 255 fits
    in 16 bits). Every processor then computes the same sums.
    """
    padded = np.concatenate([weight, np.zeros((weight.shape[0] % 2, weight.shape[1]), weight.dtype)])
    sums = (np.maximum(sign * padded, 0).reshape(-1, 2, weight.shape[1]).sum(axis=1) for sign in (1, -1))
    largest = np.maximum(*sums).max(axis=0)
    scale = (np.maximum(largest, _SMALLEST_SCALE) / _STEPS).astype(np.float32)
    return np.rint(weight / scale).astype(np.int8), scale


def _sequences(graph: Any) -> Iterator[str]:
    """Yields the tensors with the known shape [batch, length, width]."""
    for one in graph.value_info:
        axes = [axis.dim_param or axis.dim_value for axis in one.type.tensor_type.shape.dim]
        if len(axes) == 3 and axes[:2] == ["batch", "length"]:
            yield one.name


def _multiplies_tokens(node: Any, sequences: set[str], constants: dict[str, Any]) -> bool:
    weight = constants.get(node.input[1])
    # attention scores and weighted values have no constant; a dense layer after the pooling has no tokens
    return weight is not None and len(weight.dims) == 2 and {node.input[0], node.output[0]} <= sequences


@dataclass
class _Writer:
    """Collects the nodes and constants of the new graph."""

    constants: dict[str, Any]
    nodes: list[Any] = field(default_factory=list)
    rows: dict[str, str] = field(default_factory=dict)
    shapes: dict[int, str] = field(default_factory=dict)

    def constant(self, name: str, value: Any) -> str:
        self.constants.setdefault(name, numpy_helper.from_array(np.asarray(value), name))
        return name

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def add_product(self, node: Any) -> None:
        """Adds x [B, L, K] @ w [K, N] as an integer product of quantised rows, scaled and reshaped to [B, L, N]."""
        weight, scale = quantise_weight(numpy_helper.to_array(self.constants[node.input[1]]).astype(np.float32))
        # query, key and value projections read the same rows: they are quantised once
        rows = self.rows.get(node.input[0]) or self._quantised_rows(node.input[0])
        output = node.output[0]
        product = self.node(
            "MatMulIntegerToFloat",
            [
                rows,
                self.constant(f"{node.input[1]}_int8", weight),
                self.constant("int8_one", np.float32(1)),
                self.constant(f"{node.input[1]}_scale", scale),
                self.constant("int8_zero", np.uint8(_ACTIVATION_ZERO)),
            ],
            f"{output}_product",
            domain=_MICROSOFT,
        )
        scaled = self.node("Mul", [product, f"{rows}_column"], f"{output}_scaled")
        self.node("Reshape", [scaled, self._shape(weight.shape[1])], output)

    def _quantised_rows(self, name: str) -> str:
        """Adds uint8 [rows, K] of a float tensor [B, L, K], and `<result>_column`, the scale [rows, 1] of each row."""
        rows = self.rows[name] = f"{name}_int8"
        flat = self.node("Flatten", [name], f"{rows}_flat", axis=2)
        size = self.node("Abs", [flat], f"{rows}_abs")
        largest = self.node("ReduceMax", [size, self.constant("int8_last", [-1])], f"{rows}_max", keepdims=1)
        step = self.node("Mul", [largest, self.constant("int8_step", np.float32(1 / _STEPS))], f"{rows}_step")
        column = self.node("Max", [step, self.constant("int8_smallest", np.float32(_SMALLEST_SCALE))], f"{rows}_column")
        scales = self.node("Squeeze", [column, self.constant("int8_second", [1])], f"{rows}_scales")
        count = self.node("Shape", [scales], f"{rows}_count")
        zero = helper.make_tensor("value", TensorProto.UINT8, [1], [_ACTIVATION_ZERO])
        zeros = self.node("ConstantOfShape", [count], f"{rows}_zeros", value=zero)
        return self.node("QuantizeLinear", [flat, scales, zeros], rows, axis=0)

    def _shape(self, width: int) -> str:
        """Returns the name of the tensor that holds the shape [B, L, width]."""
        if not self.shapes:
            self.node("Shape", ["input_ids"], "int8_batch_length")
        if width not in self.shapes:
            tail = self.constant(f"int8_width_{width}", [width])
            self.shapes[width] = self.node("Concat", ["int8_batch_length", tail], f"int8_shape_{width}", axis=0)
        return self.shapes[width]


def _replace(graph: Any, writer: _Writer) -> None:
    del graph.node[:]
    graph.node.extend(writer.nodes)
    used = {name for node in writer.nodes for name in node.input}
    del graph.initializer[:]
    graph.initializer.extend(one for name, one in writer.constants.items() if name in used)
    # the inferred shapes are those of the float graph's tensors
    del graph.value_info[:]
