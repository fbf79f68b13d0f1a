"""The graph beside a flat index: a batch of queries against every product vector."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from twotower.arrays import Float32
from twotower.errors import CorruptArtifact
from twotower.graphs.graph import Graph


class NearestProducts:
    """queries [B, D], k → inner products and rows [B, k] of the k nearest of all products, best first.

    The graph holds the vectors in the order in which the processor multiplies them, made once: a few queries then share
    one pass over them, where a BLAS rearranges them at every call. CorruptArtifact where it is not of `count` products
    of `dimension`.
    """

    def __init__(self, path: Path, count: int, dimension: int, threads: int) -> None:
        self._graph = Graph(path, {"queries": 2, "k": 1}, ["scores", "rows"], threads)
        shape = self._graph.properties().get("shape")
        if shape != f"{count} x {dimension}":
            raise CorruptArtifact(f"{path} is of {shape} vectors, wanted {count} x {dimension}")

    def search(self, queries: Float32, k: int) -> tuple[Float32, NDArray[np.int64]]:
        scores, rows = self._graph.run({"queries": queries, "k": np.array([k], np.int64)})
        # of the two integer types of 64 bits FAISS knows but numpy's own
        return scores, rows.view(np.int64)
