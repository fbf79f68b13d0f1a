"""The graph of a small catalogue's vectors: searches a few queries together, exactly."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from twotower.arrays import Float32, Int64
from twotower.errors import CorruptArtifact
from twotower.graphs.graph import Graph

# one 0 for all products of all queries
_NOTHING = np.zeros((1, 1), np.float32)


class NearestProducts:
    """queries [B, D], k → inner products and rows [B, k] of the k nearest products, best first.

    `added` [B, N], if given, is added to the inner products.

    The graph packs the vectors once, in the order in which the processor multiplies them, and a few queries share one
    pass over them; BLAS packs them again at every call. Raises CorruptArtifact if the file does not hold `count`
    vectors of `dimension`.
    """

    def __init__(self, path: Path, count: int, dimension: int, threads: int) -> None:
        self._graph = Graph(path, {"queries": 2, "k": 1, "added": 2}, ["scores", "rows"], threads)
        shape = self._graph.properties().get("shape")
        if shape != f"{count} x {dimension}":
            raise CorruptArtifact(f"{path} is of {shape} vectors, wanted {count} x {dimension}")

    def search(self, queries: Float32, k: int, added: Float32 | None = None) -> tuple[Float32, Int64]:
        more = _NOTHING if added is None else added
        scores, rows = self._graph.run({"queries": queries, "k": np.array([k], np.int64), "added": more})
        # numpy has two 64-bit integer types, and FAISS takes only one of them
        return scores, rows.view(np.int64)
