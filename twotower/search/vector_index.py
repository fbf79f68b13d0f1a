"""The vector index of a version: top-k with excluded rows and allowed rows, for the retrieval service and `recommend`.

A flat index is searched exactly. The other kinds keep a code or a graph of the vectors, find candidates by it, and rank
these by exact inner products with the mapped product_embeddings.npy: memory holds no second copy of the vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from twotower.arrays import Float32, Int64, Mask
from twotower.artifact.manifest import IndexSpec, IndexStep
from twotower.errors import CorruptArtifact, InvalidInput
from twotower.graphs.nearest_products import NearestProducts
from twotower.search.approximate import ApproximateSearch
from twotower.search.exact import ExactSearch
from twotower.search.ranking import Hits, distinct, inner_products, united
from twotower.sharding import Rows

# how many floats of vectors an exact search for one query reads in a millisecond, and the share of its time that each
# further query of a batch takes
FLOATS_IN_A_MILLISECOND, _FURTHER_QUERY = 2_500_000, 0.2
FLAT = IndexSpec()
# rows that are in memory in float64 at once
_ROWS = 8192


class VectorIndex:
    """FAISS over vectors [N, D]; row i of the index is row i of `vectors`. Every search runs on `threads` threads.

    Every kind promises: scores are exact inner products, equal scores come in the order of the rows, a query's answer
    does not depend on its batch, and there are min(k, allowed) rows. A flat index finds the true best rows; the others
    find the share of them that `spec` states.

    An index of a shard finds the rows of its `part` alone, as if a filter left out all others. Rows, filters and
    exclusions are those of the whole, and so is how deep it searches: the shards together find every row that one index
    of all products finds. Such a version held as a whole is searched in `parts`, and answers as its shards do.
    """

    def __init__(
        self,
        index: Any,
        vectors: Float32,
        spec: IndexSpec = FLAT,
        threads: int = 1,
        nearest: NearestProducts | None = None,
        part: Rows | None = None,
        parts: Sequence[VectorIndex] = (),
    ) -> None:
        """`part`: the rows that `index` holds, all by default. `index` may be None if it is flat or in `parts`.

        Raises CorruptArtifact if the index and the vectors differ in size, or if the vectors are not float32.
        """
        self.part = part or Rows(0, len(vectors))
        if index is not None and (index.ntotal != self.part.size or index.d != vectors.shape[1]):
            raise CorruptArtifact(
                f"the index holds {index.ntotal} x {index.d}, the vectors are {self.part.size} x {vectors.shape[1]}"
            )
        if vectors.dtype != np.float32 or not vectors.flags.c_contiguous:
            raise CorruptArtifact(f"the vectors are {vectors.dtype}, wanted float32, row by row")
        self.spec = spec
        self.vectors = vectors
        self._threads = threads
        self._exact = ExactSearch(vectors[self.part.first : self.part.stop], nearest)
        # a flat index holds nothing but its vectors, and those are mapped already
        self.parts = tuple(parts)
        self._approximate = None if self.is_exact or parts else ApproximateSearch(index, vectors, spec, self.part)

    @classmethod
    def load(
        cls, index: Path, embeddings: Path, spec: IndexSpec = FLAT, threads: int = 1, nearest: Path | None = None
    ) -> VectorIndex:
        """Maps an index and its vectors, and opens the graph `nearest` if one is given; the files must be verified.

        Raises CorruptArtifact if a file cannot be read or is not what `spec` says.
        """
        vectors, read = map_vectors(embeddings), _map_index(index, spec)
        graph = None if nearest is None else NearestProducts(nearest, len(vectors), vectors.shape[1], threads)
        return cls(read, vectors, spec, threads, graph)

    @classmethod
    def load_part(cls, index: Path | None, embeddings: Path, spec: IndexSpec, part: Rows) -> VectorIndex:
        """Maps the index of a part, None for a flat one, and the vectors of all products; the files must be verified.

        Raises CorruptArtifact if a file cannot be read or is not what `spec` says.
        """
        read = None if index is None else _map_index(index, spec)
        return cls(read, map_vectors(embeddings), spec, part=part)

    @classmethod
    def load_parts(
        cls, indexes: Sequence[Path], embeddings: Path, spec: IndexSpec, parts: Sequence[Rows]
    ) -> VectorIndex:
        """Maps the indexes of all parts as one, which is not flat; the files must be verified.

        Raises CorruptArtifact if a file cannot be read or is not what `spec` says.
        """
        vectors = map_vectors(embeddings)
        found = [
            cls(_map_index(path, spec), vectors, spec, part=part) for path, part in zip(indexes, parts, strict=True)
        ]
        return cls(None, vectors, spec, parts=found)

    def with_spec(self, spec: IndexSpec) -> VectorIndex:
        """The same index, searched as another `spec` says; for tuning an index that is not flat."""
        assert self._approximate is not None
        return VectorIndex(self._approximate.index, self.vectors, spec, self._threads, part=self.part)

    @property
    def size(self) -> int:
        return len(self.vectors)

    @property
    def dimension(self) -> int:
        return int(self.vectors.shape[1])

    @property
    def is_exact(self) -> bool:
        """True if every answer is the true best."""
        return self.spec.factory == FLAT.factory

    @property
    def deepest(self) -> int:
        """How many of the best rows can be searched for without a scan."""
        return self.spec.steps[-1].depth if self.spec.steps else 0

    def scans(self, allowed: Mask | None) -> bool:
        """True if a search under this filter [N] reads every allowed vector."""
        return self.is_exact or (allowed is not None and int(np.count_nonzero(allowed)) <= self.spec.exact_rows)

    @property
    def is_remote(self) -> bool:
        """Whether a search waits for another process, which may not answer."""
        return self._approximate is not None and self._approximate.is_remote

    def milliseconds(self, queries: int) -> float:
        """About how long an unfiltered search for so many queries takes."""
        if not self.is_exact:
            return float(queries)
        one = self.part.size * self.dimension / FLOATS_IN_A_MILLISECOND
        return one * (1 + (queries - 1) * _FURTHER_QUERY)

    def search(
        self, queries: Float32, ks: Sequence[int], excluded: Sequence[Int64], allowed: Mask | None = None
    ) -> list[Hits]:
        """The min(k, allowed) rows of highest inner product for each query [B, D], without its excluded rows.

        `allowed` [N] is true for the rows that may be found; None allows all.
        """
        if self.parts:
            return united([one.search(queries, ks, excluded, allowed) for one in self.parts], ks)
        if self._approximate is None:
            return self.search_exactly(queries, ks, excluded, allowed)
        queries, excluded = self._prepare(queries, excluded)
        results = self._approximate.search(queries, ks, excluded, allowed)
        return self._scan_rest(results, queries, ks, excluded, allowed, None)

    def search_exactly(
        self,
        queries: Float32,
        ks: Sequence[int],
        excluded: Sequence[Int64],
        allowed: Mask | None = None,
        added: Float32 | None = None,
    ) -> list[Hits]:
        """Like `search`, but finds the true best rows with every kind of index: it reads all allowed vectors.

        `added` [B, N] is added to the inner products.
        """
        queries, excluded = self._prepare(queries, excluded)
        is_whole = allowed is None and self.is_exact
        results = self._search_whole(queries, ks, excluded, added) if is_whole else {}
        return self._scan_rest(results, queries, ks, excluded, allowed, added)

    def _prepare(self, queries: Float32, excluded: Sequence[Int64]) -> tuple[Float32, list[Int64]]:
        if queries.shape[1] != self.dimension:
            raise InvalidInput("vectors.dimension", queries.shape[1], f"the index has {self.dimension} dimensions")
        self._limit_threads()
        sorted_rows = [distinct(rows) if len(rows) else rows for rows in excluded]
        return np.ascontiguousarray(queries, np.float32), sorted_rows

    def _search_whole(
        self, queries: Float32, ks: Sequence[int], excluded: Sequence[Int64], added: Float32 | None
    ) -> dict[int, Hits]:
        """All rows of the part, without a filter."""
        first, stop = self.part
        own = [_within(rows, self.part) for rows in excluded]
        results = self._exact.search(queries, ks, own, None if added is None else added[:, first:stop])
        return {place: Hits(hits.rows + first, hits.scores) for place, hits in results.items()} if first else results

    def _scan_rest(
        self,
        results: dict[int, Hits],
        queries: Float32,
        ks: Sequence[int],
        excluded: Sequence[Int64],
        allowed: Mask | None,
        added: Float32 | None,
    ) -> list[Hits]:
        """All results: those that are there, and scans for the other queries."""
        rest = [row for row in range(len(queries)) if row not in results]
        if rest:
            first, stop = self.part
            rows = np.arange(self.part.size) if allowed is None else np.flatnonzero(allowed[first:stop])
            for row in rest:
                own = None if added is None else added[row, first:stop]
                without = _within(excluded[row], self.part)
                hits = self._exact.scan(queries[row], rows, ks[row], without, own)
                results[row] = Hits(hits.rows + first, hits.scores)
        return [results[row] for row in range(len(queries))]

    def vector(self, row: int) -> Float32:
        """The vector [D] of a row."""
        found: Float32 = self.vectors[row]
        return found

    def scores(self, queries: Float32, rows: Int64) -> Float32:
        """Inner products [B, F] of queries [B, D] with their own rows [B, F]; see `inner_products`."""
        return inner_products(self.vectors, queries, rows)

    def candidates(self, queries: Float32, step: IndexStep) -> Int64:
        """See `ApproximateSearch.candidates`; for tuning an index that is not flat."""
        assert self._approximate is not None
        return self._approximate.candidates(queries, step)

    def fetched(self, depth: int, factor: float) -> int:
        """See `ApproximateSearch.fetched`; for tuning an index that is not flat."""
        assert self._approximate is not None
        return self._approximate.fetched(depth, factor)

    def _limit_threads(self) -> None:
        import faiss

        # OpenMP keeps this count per thread, so it is set in the thread that searches
        faiss.omp_set_num_threads(self._threads)


def map_vectors(embeddings: Path) -> Float32:
    """Vectors [N, D] of a .npy file, mapped. Raises CorruptArtifact if it cannot be read."""
    try:
        # a plain view: each index operation on numpy's mapped-file class costs a microsecond more
        return np.asarray(np.load(embeddings, mmap_mode="r", allow_pickle=False))
    except (ValueError, OSError, EOFError) as error:
        raise CorruptArtifact(f"{embeddings.name} cannot be read: {error}") from error


def _map_index(index: Path, spec: IndexSpec) -> Any:
    import faiss  # only the retrieval service and the trainer have it

    try:
        read = faiss.read_index(str(index), faiss.IO_FLAG_MMAP_IFC)
    except (RuntimeError, OSError, IndexError) as error:
        raise CorruptArtifact(f"{index.name} cannot be read: {error}") from error
    if isinstance(read, faiss.IndexFlat) != (spec.factory == FLAT.factory):
        raise CorruptArtifact(f"{index.name} is an {type(read).__name__}, the manifest says {spec.factory}")
    return read


def _within(rows: Int64, part: Rows) -> Int64:
    """Those of sorted rows that lie in a part, counted from its first."""
    if not len(rows):
        return rows
    begin, end = rows.searchsorted(part)
    return rows[begin:end] - part.first


def unit_rows(vectors: Float32) -> Float32:
    """Rows [B, D] scaled to length 1 in float64, then rounded to float32; a row of zeros stays one."""
    scaled = np.empty(vectors.shape, np.float32)
    _scale_rows(vectors, scaled)
    return scaled


def save_unit_rows(vectors: Float32, path: Path) -> None:
    """Writes `unit_rows` as a .npy file; memory holds some thousand of them at once."""
    scaled = np.lib.format.open_memmap(path, "w+", np.float32, vectors.shape)
    _scale_rows(vectors, scaled)
    scaled.flush()


def _scale_rows(vectors: Float32, scaled: Float32) -> None:
    for start in range(0, len(vectors), _ROWS):
        part = vectors[start : start + _ROWS].astype(np.float64)
        lengths = np.linalg.norm(part, axis=1, keepdims=True)
        scaled[start : start + _ROWS] = part / np.where(lengths > 0, lengths, 1.0)
