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
# rows beyond k that are asked for, so that a tie at the k-th place is seen
_SPARE = 8
# two sums of the same products may differ by this share of the query's length: BLAS, FAISS and numpy add in
# different orders, and the order depends on the size of the batch
_ROUNDING = 2e-6
# FAISS scores a flat index by BLAS from this many floats of queries on (queries x dimensions): a batch of 32 queries of
# 384 dimensions takes a quarter of the time then, a single query would take four times as long
_BLAS_FROM = 2304
# rows gathered at once: a copy of a share of the vectors, never of all of them
_CHUNK = 16_384


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
            faiss.cvar.distance_compute_blas_threshold = _BLAS_FROM
            # a view without the class of a mapped file, whose every index operation costs a microsecond more
            vectors = np.asarray(np.load(embeddings, mmap_mode="r", allow_pickle=False))
            return cls(faiss.read_index(str(index)), vectors)
        except (RuntimeError, ValueError, OSError, EOFError, IndexError) as error:
            raise CorruptArtifact(f"{index.name} or {embeddings.name} cannot be read: {error}") from error

    @property
    def size(self) -> int:
        return int(self._index.ntotal)

    @property
    def dimension(self) -> int:
        return int(self._index.d)

    def search(self, queries: Float32, ks: Sequence[int], excluded: Sequence[Int64]) -> list[Hits]:
        """For each query [D] the `k` rows of highest inner product that are not excluded; min(k, allowed) of them.

        Rows of equal score come in the order of the rows, and a query gets the same answer in any batch.
        """
        if queries.shape[1] != self.dimension:
            raise InvalidInput("vectors.dimension", queries.shape[1], f"the index has {self.dimension} dimensions")
        results: dict[int, Hits] = {}
        excluded = [np.unique(rows) for rows in excluded]
        fetch = [min(k + len(rows) + _SPARE, self.size) for k, rows in zip(ks, excluded, strict=True)]
        narrow = [row for row, count in enumerate(fetch) if count <= _MAX_FETCH]
        if narrow:
            most = max(fetch[row] for row in narrow)
            scores, rows = self._index.search(np.ascontiguousarray(queries[narrow]), most)
            for place, row in enumerate(narrow):
                found = self._settle(queries[row], rows[place], scores[place], ks[row], excluded[row])
                if found is not None:
                    results[row] = found
        everything = np.arange(self.size) if len(results) < len(queries) else np.empty(0, np.int64)
        return [
            results[row] if row in results else self.scan(query, everything, ks[row], excluded[row])
            for row, query in enumerate(queries)
        ]

    def scan(self, query: Float32, allowed: Int64, k: int, excluded: Int64) -> Hits:
        """The best `k` of the `allowed` rows alone, by exact inner product; equal scores in the order of the rows."""
        if len(excluded):
            allowed = allowed[~np.isin(allowed, excluded)]
        if not len(allowed) or k <= 0:
            return Hits(np.empty(0, np.int64), np.empty(0, np.float32))
        scores = self._rough(allowed, query)
        if k < len(allowed):
            kth = np.partition(scores, len(scores) - k)[len(scores) - k]
            allowed = allowed[scores >= kth - _rounding(query)]
        return self._rank(query, allowed, k)

    def _settle(self, query: Float32, rows: Int64, scores: Float32, k: int, excluded: Int64) -> Hits | None:
        """The best `k` of what FAISS found, or None where a row that it left out might belong among them."""
        whole = len(rows) >= self.size and rows.min() >= 0
        keep = rows >= 0
        if len(excluded):
            keep &= ~np.isin(rows, excluded)
        rows, kept = rows[keep], scores[keep]
        if not whole and (len(rows) <= k or kept[k - 1] - kept[-1] <= _rounding(query)):
            return None
        if len(rows) > k:
            rows = rows[kept >= kept[k - 1] - _rounding(query)]
        return self._rank(query, rows, k)

    def _rank(self, query: Float32, rows: Int64, k: int) -> Hits:
        # summed row by row, unlike a matrix product: a score does not depend on what else is scored beside it
        scores = np.concatenate([(self.vectors[part] * query).sum(axis=1) for part in _parts(rows)])  # [len(rows)]
        best = np.lexsort((rows, -scores))[:k]
        return Hits(rows[best], scores[best])

    def _rough(self, rows: Int64, query: Float32) -> Float32:
        """Inner products at BLAS speed; their last digits depend on how many rows are asked for at once."""
        if len(rows) == self.size:
            return np.asarray(self.vectors @ query)
        return np.concatenate([self.vectors[part] @ query for part in _parts(rows)])


def _parts(rows: Int64) -> list[Int64]:
    return [rows[start : start + _CHUNK] for start in range(0, max(len(rows), 1), _CHUNK)]


def _rounding(query: Float32) -> float:
    return _ROUNDING * float(np.linalg.norm(query))
