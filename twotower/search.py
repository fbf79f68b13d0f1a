"""The vector index of a version: exact top-K with excluded rows. The retrieval service and `recommend` share it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from twotower.errors import CorruptArtifact, InvalidInput

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]
# a search asks FAISS for k and the excluded; past this many it costs less to score every row once
_MAX_FETCH = 4096


class Hits(NamedTuple):
    """Rows of the index and their inner products, best first."""

    rows: Int64
    scores: Float32


class VectorIndex:
    """FAISS over vectors [N, D]; row i of the index is row i of `vectors`."""

    def __init__(self, index: Any, vectors: Float32) -> None:
        if index.ntotal != len(vectors) or index.d != vectors.shape[1]:
            raise CorruptArtifact(
                f"the index holds {index.ntotal} x {index.d}, the vectors are {len(vectors)} x {vectors.shape[1]}"
            )
        self._index = index
        self.vectors = vectors

    @classmethod
    def load(cls, index: Path, embeddings: Path) -> VectorIndex:
        """Opens an index and maps its vectors; both files must have been checked before."""
        import faiss  # only the retrieval service and the trainer have it

        try:
            return cls(faiss.read_index(str(index)), np.load(embeddings, mmap_mode="r", allow_pickle=False))
        except (RuntimeError, ValueError, OSError) as error:
            raise CorruptArtifact(f"{index.name} or {embeddings.name} cannot be read: {error}") from error

    @property
    def size(self) -> int:
        return int(self._index.ntotal)

    @property
    def dimension(self) -> int:
        return int(self._index.d)

    def search(self, queries: Float32, ks: Sequence[int], excluded: Sequence[Int64]) -> list[Hits]:
        """For each query [D] the `k` rows of highest inner product that are not excluded; min(k, allowed) of them."""
        if queries.shape[1] != self.dimension:
            raise InvalidInput("vectors.dimension", queries.shape[1], f"the index has {self.dimension} dimensions")
        if not len(queries):
            return []
        fetch = [min(k + len(rows), self.size) for k, rows in zip(ks, excluded, strict=True)]
        results: list[Hits | None] = [None] * len(queries)
        narrow = [row for row, count in enumerate(fetch) if count <= _MAX_FETCH]
        if narrow:
            most = max(fetch[row] for row in narrow)
            scores, rows = self._index.search(np.ascontiguousarray(queries[narrow]), most)
            for place, row in enumerate(narrow):
                results[row] = _drop(rows[place], scores[place], excluded[row], ks[row])
        everything: Int64 | None = None
        for row, found in enumerate(results):
            if found is None:
                everything = np.arange(self.size) if everything is None else everything
                results[row] = self.scan(queries[row], everything, ks[row], excluded[row])
        return [found for found in results if found is not None]

    def scan(self, query: Float32, allowed: Int64, k: int, excluded: Int64) -> Hits:
        """The best `k` of the `allowed` rows alone, by exact inner product."""
        if len(excluded):
            allowed = allowed[~np.isin(allowed, excluded)]
        if not len(allowed) or k <= 0:
            return Hits(np.empty(0, np.int64), np.empty(0, np.float32))
        scores = self.vectors[allowed] @ query if len(allowed) < self.size else self.vectors @ query
        count = min(k, len(allowed))
        best = np.argpartition(-scores, count - 1)[:count]
        best = best[np.lexsort((allowed[best], -scores[best]))]
        return Hits(allowed[best], scores[best].astype(np.float32))


def _drop(rows: Int64, scores: Float32, excluded: Int64, k: int) -> Hits:
    keep = rows >= 0
    if len(excluded):
        keep &= ~np.isin(rows, excluded)
    return Hits(rows[keep][:k], scores[keep][:k])
