"""One exported ONNX graph: its session on the CPU, with the inputs and outputs checked when it is opened."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from twotower.arrays import Float32
from twotower.errors import CorruptArtifact

# the fused kernel is slower than the addition and the normalisation that it replaces: all-MiniLM-L6-v2 takes 0.95 of
# the time without it
_DISABLED = ["SkipLayerNormFusion"]


class Graph:
    """An ONNX graph. `inputs` maps each input's name to its number of axes.

    Raises CorruptArtifact if the file is no such graph.
    """

    def __init__(self, path: Path, inputs: Mapping[str, int], outputs: Sequence[str], threads: int) -> None:
        # read at import; without it the library looks up its vendor's host and keeps a device id in the home folder
        os.environ["ORT_DISABLE_TELEMETRY"] = "1"
        import onnxruntime  # heavy, and not in the gateway's image

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # spinning threads would take cores that other services on the host need
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"], disabled_optimizers=_DISABLED
            )
        except Exception as error:  # ONNX Runtime raises a dozen unrelated classes for a bad file
            raise CorruptArtifact(f"{path} is not a graph that ONNX Runtime can run: {error}") from error
        found = {one.name: len(one.shape) for one in self._session.get_inputs()}
        if found != dict(inputs):
            raise CorruptArtifact(f"{path} has inputs {found}, wanted {dict(inputs)}")
        self._outputs = list(outputs)
        given = [one.name for one in self._session.get_outputs()]
        if given != self._outputs:
            raise CorruptArtifact(f"{path} has outputs {given}, wanted {self._outputs}")

    def properties(self) -> dict[str, str]:
        """The metadata in the file."""
        found: dict[str, str] = self._session.get_modelmeta().custom_metadata_map
        return found

    def run(self, values: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """The graph's outputs, in their order."""
        results: list[NDArray[Any]] = self._session.run(self._outputs, dict(values))
        return results


class VectorGraph(Graph):
    """An ONNX graph whose one output, `output`, is a vector for each row of its inputs."""

    def __init__(self, path: Path, inputs: Mapping[str, int], output: str, threads: int) -> None:
        super().__init__(path, inputs, [output], threads)

    def vectors(self, values: Mapping[str, NDArray[Any]]) -> Float32:
        """Vectors [B, D] of inputs that share their first axis."""
        vectors: Float32 = self.run(values)[0]
        return vectors
