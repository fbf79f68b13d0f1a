"""One exported ONNX graph: its session, with input names and shapes checked before the runtime sees them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twotower.errors import CorruptArtifact
from twotower.history import BuyerInputs

Float32 = NDArray[np.float32]


class Graph:
    """An ONNX graph with one output. `inputs` gives each input's name and number of axes.

    CorruptArtifact where the file is not such a graph.
    """

    def __init__(self, path: Path, inputs: Mapping[str, int], output: str, threads: int) -> None:
        import onnxruntime  # heavy, and not in the retrieval service's image

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # spinning threads would take the cores that the other services of a host need
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime raises a dozen unrelated classes for a bad file
            raise CorruptArtifact(f"{path} is not a graph that ONNX Runtime can run: {error}") from error
        found = {one.name: len(one.shape) for one in self._session.get_inputs()}
        if found != dict(inputs):
            raise CorruptArtifact(f"{path} has inputs {found}, wanted {dict(inputs)}")
        outputs = [one.name for one in self._session.get_outputs()]
        if outputs != [output]:
            raise CorruptArtifact(f"{path} has outputs {outputs}, wanted [{output!r}]")
        self._output = output

    def run(self, values: Mapping[str, NDArray[Any]]) -> Float32:
        """The graph's output for inputs that share their first axis."""
        result: Float32 = self._session.run([self._output], dict(values))[0]
        return result


class ItemTower:
    """text [B, E], brand, category, product [B] (0 = unknown) → vectors [B, D], L2-normalised."""

    def __init__(self, path: Path, threads: int) -> None:
        self._graph = Graph(path, {"text": 2, "brand": 1, "category": 1, "product": 1}, "vector", threads)

    def encode(
        self, text: Float32, brand: NDArray[np.int64], category: NDArray[np.int64], product: NDArray[np.int64]
    ) -> Float32:
        return self._graph.run({"text": text, "brand": brand, "category": category, "product": product})


class BuyerTower:
    """item vectors [B, T, D], weights, event types, ages, mask [B, T] → vectors [B, D], L2-normalised."""

    def __init__(self, path: Path, threads: int) -> None:
        shapes = {"items": 3, "weights": 2, "types": 2, "ages": 2, "mask": 2}
        self._graph = Graph(path, shapes, "vector", threads)

    def encode(self, items: Float32, batch: BuyerInputs) -> Float32:
        """Vectors [B, D] of histories whose item vectors have been gathered already."""
        values: dict[str, NDArray[Any]] = {
            "items": items,
            "weights": batch.weights,
            "types": batch.types,
            "ages": batch.ages,
            "mask": batch.mask,
        }
        return self._graph.run(values)
