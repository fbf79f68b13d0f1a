"""The vector index of a version: top-K with excluded rows and allowed rows. The retrieval service and `recommend` share
it.

A flat index is searched exactly; a few queries together by a graph that holds a small catalogue's vectors once more, in
the order in which they are multiplied, anything else by FAISS. The other kinds find candidates by what they hold of a
vector (a code, a graph), and these are ranked again by their exact inner products, read from the mapped
product_embeddings.npy: no second copy of the vectors is in memory.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from twotower.arrays import Float32, Int64, Mask
from twotower.artifact.manifest import IndexSpec, IndexStep
from twotower.errors import CorruptArtifact, InvalidInput
from twotower.graphs.nearest_products import NearestProducts

# an exact search asks FAISS for k and the excluded; past this many it costs less to score every row once
_MAX_FETCH = 4096


# rows beyond k that are asked for, so that a tie at the k-th place is seen
_SPARE = 8


# two sums of the same products may differ by this share of the query's length: BLAS, FAISS, ONNX Runtime and numpy add
# in different orders, and the order depends on the size of the batch
_ROUNDING = 2e-6


# FAISS scores exactly by BLAS from this many floats of queries on (queries x dimensions): a batch of 32 queries of
# 384 dimensions takes a quarter of the time then, a single query would take four times as long
_BLAS_FROM = 2304


# up to so many queries share a pass of `NearestProducts`, which keeps each one's score of every product; of more FAISS
# takes no longer
_TOGETHER = 64


# an index under a filter is asked for this much more than would hold k allowed rows on average
_FILTER_MARGIN = 1.3


# floats of vectors that an exact search of one query reads in a millisecond, and the share of its time that each
# further query of a batch takes
_FLOATS_IN_A_MILLISECOND, _FURTHER_QUERY = 2_500_000, 0.2


FLAT = IndexSpec()


class Hits(NamedTuple):
    """Rows of the index and their inner products, best first."""

    rows: Int64
    scores: Float32


class VectorIndex:
    """FAISS over vectors [N, D]; row i of the index is row i of `vectors`. Every search runs on `threads` threads.

    Whatever the kind: scores are exact inner products, equal ones come in the order of the rows, a query gets the same
    answer in any batch, and there are min(k, allowed) rows. A flat index gives the true best; another one finds the
    share of them that its `spec` tells.
    """

    def __init__(
        self,
        index: Any,
        vectors: Float32,
        spec: IndexSpec = FLAT,
        threads: int = 1,
        nearest: NearestProducts | None = None,
    ) -> None:
        if index.ntotal != len(vectors) or index.d != vectors.shape[1]:
            raise CorruptArtifact(
                f"the index holds {index.ntotal} x {index.d}, the vectors are {len(vectors)} x {vectors.shape[1]}"
            )
        if vectors.dtype != np.float32 or not vectors.flags.c_contiguous:
            raise CorruptArtifact(f"the vectors are {vectors.dtype}, wanted float32, row by row")
        self.spec = spec
        self.vectors = vectors
        self._threads = threads
        # a flat index is its vectors, and those are mapped already
        self._index = index if spec.factory != FLAT.factory else None
        self._nearest = nearest
        _set_blas_threshold()

    @classmethod
    def load(
        cls, index: Path, embeddings: Path, spec: IndexSpec = FLAT, threads: int = 1, nearest: Path | None = None
    ) -> VectorIndex:
        """Maps an index and its vectors, and opens the graph `nearest` of a flat index where there is one; the files
        must have been checked before. CorruptArtifact where they cannot be read, or are not what `spec` says."""
        import faiss  # only the retrieval service and the trainer have it

        try:
            # a view without the class of a mapped file, whose every index operation costs a microsecond more
            vectors = np.asarray(np.load(embeddings, mmap_mode="r", allow_pickle=False))
            read = faiss.read_index(str(index), faiss.IO_FLAG_MMAP_IFC)
        except (RuntimeError, ValueError, OSError, EOFError, IndexError) as error:
            raise CorruptArtifact(f"{index.name} or {embeddings.name} cannot be read: {error}") from error
        if isinstance(read, faiss.IndexFlat) != (spec.factory == FLAT.factory):
            raise CorruptArtifact(f"{index.name} is an {type(read).__name__}, the manifest says {spec.factory}")
        graph = None if nearest is None else NearestProducts(nearest, len(vectors), vectors.shape[1], threads)
        return cls(read, vectors, spec, threads, graph)

    def with_spec(self, spec: IndexSpec) -> VectorIndex:
        """The same index, searched another way."""
        return VectorIndex(self._index, self.vectors, spec, self._threads, self._nearest)

    @property
    def size(self) -> int:
        return len(self.vectors)

    @property
    def exact(self) -> bool:
        """True where every answer is the true best."""
        return self._index is None

    def milliseconds(self, queries: int) -> float:
        """About how long an unfiltered search for so many queries takes."""
        if not self.exact:
            return float(queries)
        one = self.vectors.size / _FLOATS_IN_A_MILLISECOND
        return one * (1 + (queries - 1) * _FURTHER_QUERY)

    @property
    def dimension(self) -> int:
        return int(self.vectors.shape[1])

    def search(
        self, queries: Float32, ks: Sequence[int], excluded: Sequence[Int64], allowed: Mask | None = None
    ) -> list[Hits]:
        """For each query [D] the `k` rows of highest inner product that are not excluded; min(k, allowed) of them.

        `allowed` [N] tells which rows may be found; None: every one.
        """
        if queries.shape[1] != self.dimension:
            raise InvalidInput("vectors.dimension", queries.shape[1], f"the index has {self.dimension} dimensions")
        self._limit_threads()
        queries = np.ascontiguousarray(queries, np.float32)
        excluded = [np.unique(rows) if len(rows) else rows for rows in excluded]
        find = self._exact if self._index is None else self._approximate
        results = find(queries, ks, excluded, allowed)
        rest = [row for row in range(len(queries)) if row not in results]
        if rest:
            rows = np.arange(self.size) if allowed is None else np.flatnonzero(allowed)
            results |= {row: self.scan(queries[row], rows, ks[row], excluded[row]) for row in rest}
        return [results[row] for row in range(len(queries))]

    def scan(self, query: Float32, allowed: Int64, k: int, excluded: Int64) -> Hits:
        """The best `k` of the `allowed` rows alone, by exact inner product; equal scores in the order of the rows."""
        query = np.ascontiguousarray(query, np.float32)
        if len(excluded):
            allowed = allowed[_outside(allowed, excluded)]
        if not len(allowed) or k <= 0:
            return Hits(np.empty(0, np.int64), np.empty(0, np.float32))
        if k < len(allowed) == self.size:
            # BLAS is twice as fast over everything, but its last digits depend on how many rows there are
            rough = self.vectors @ query
            kth = np.partition(rough, len(rough) - k)[len(rough) - k]
            allowed = allowed[rough >= kth - _rounding(query)]
        return self._rank(query, allowed, k)

    def _exact(
        self, queries: Float32, ks: Sequence[int], excluded: Sequence[Int64], allowed: Mask | None
    ) -> dict[int, Hits]:
        """Answers of an exact search, for the queries that it can settle; the others have none."""
        if allowed is not None:
            return {}
        import faiss

        fetch = [min(k + len(rows) + _SPARE, self.size) for k, rows in zip(ks, excluded, strict=True)]
        narrow = [row for row, count in enumerate(fetch) if count <= _MAX_FETCH]
        if not narrow:
            return {}
        if len(narrow) < len(fetch):
            queries, ks, excluded = queries[narrow], [ks[row] for row in narrow], [excluded[row] for row in narrow]
        most = max(fetch[row] for row in narrow)
        if self._nearest is not None and 1 < len(queries) <= _TOGETHER:
            scores, rows = self._nearest.search(queries, most)
            summed = False
        else:
            scores, rows = faiss.knn(queries, self.vectors, most, faiss.METRIC_INNER_PRODUCT)
            # without BLAS, FAISS sums each product by itself, as `scores` does
            summed = queries.size < _BLAS_FROM
        found = self._settle(queries, rows, scores, ks, excluded, summed)
        return {row: hits for row, hits in zip(narrow, found, strict=True) if hits is not None}

    def _settle(
        self, queries: Float32, rows: Int64, scores: Float32, ks: Sequence[int], excluded: Sequence[Int64], summed: bool
    ) -> list[Hits | None]:
        """Of the rows [B, F] that were found, best first, the best `k` for each query; None where a row that was left
        out might belong among them. `summed`: the scores are those of `scores`, to the last bit.

        Each of numpy's calls costs a process that has just slept ten microseconds: hence the short ways.
        """
        width = rows.shape[1]
        spare = 0.0 if summed else _ROUNDING * np.sqrt(np.einsum("bd,bd->b", queries, queries))
        exact = scores if summed else self.scores(queries, rows)
        counts: Sequence[int] = ks
        if min(ks) == max(ks) < width and not any(map(len, excluded)) and (rows[:, -1] >= 0).all():
            settled = (scores[:, ks[0] - 1] - scores[:, -1] > spare) | (width >= self.size)
        else:
            k, every = np.array(ks), np.arange(len(rows))
            keep = rows >= 0
            whole = keep.all(axis=1) & (width >= self.size)
            for place, one in enumerate(excluded):
                if len(one):
                    keep[place] &= _outside(rows[place], one)
            found = keep.cumsum(axis=1)
            kth = scores[every, (found >= k[:, None]).argmax(axis=1)]
            last = scores[every, width - 1 - keep[:, ::-1].argmax(axis=1)]
            settled = whole | ((found[:, -1] > k) & (kth - last > spare))
            exact = np.where(keep, exact, -np.inf)
            counts = np.minimum(found[:, -1], k).tolist()
        rows, exact = _best_first(rows, exact)
        return [
            Hits(rows[place, :count], exact[place, :count]) if done else None
            for place, (count, done) in enumerate(zip(counts, settled.tolist(), strict=True))
        ]

    def _approximate(
        self, queries: Float32, ks: Sequence[int], excluded: Sequence[Int64], allowed: Mask | None
    ) -> dict[int, Hits]:
        """Answers of an approximate search; none for a query that an exact scan serves better or that found too few.

        The best k of the allowed rows are the first k allowed in the order of all rows: where k of them are among the
        `depth` rows asked for, they are found as surely as the index finds the best `depth`.
        """
        possible = self.size if allowed is None else int(np.count_nonzero(allowed))
        if allowed is not None and possible <= self.spec.exact_rows:
            return {}
        share = self.size / possible * (_FILTER_MARGIN if possible < self.size else 1.0)
        by_step: dict[IndexStep, list[int]] = defaultdict(list)
        for row, (k, without) in enumerate(zip(ks, excluded, strict=True)):
            step = self.step(int(np.ceil(k * share)) + len(without))
            if step is not None:
                by_step[step].append(row)
        results: dict[int, Hits] = {}
        for step, places in by_step.items():
            asked = queries if len(by_step) == 1 and len(places) == len(queries) else queries[places]
            rows = self.candidates(asked, step)
            keep = rows >= 0
            if allowed is not None:
                keep &= allowed[rows]
            for place, row in enumerate(places):
                if len(excluded[row]):
                    keep[place] &= _outside(rows[place], excluded[row])
            scores = np.where(keep, self.scores(asked, rows), -np.inf)
            rows, scores = _best_first(rows, scores)
            for place, (row, found) in enumerate(zip(places, keep.sum(axis=1).tolist(), strict=True)):
                count = min(ks[row], possible)
                if found >= count:
                    results[row] = Hits(rows[place, :count], scores[place, :count])
        return results

    def step(self, depth: int) -> IndexStep | None:
        """The cheapest measured way to search so deep; None where an exact scan is the only one."""
        return next((one for one in self.spec.steps if one.depth >= depth), None)

    def candidates(self, queries: Float32, step: IndexStep) -> Int64:
        """Rows [B, F] among which an approximate index finds the best `step.depth` of each query, those that it takes
        for the best first; -1 where it finds no more.

        A graph is searched by each query for itself. Elsewhere one query a call: in a batch FAISS adds up in another
        order, and an answer would depend on its neighbours.
        """
        assert self._index is not None
        parameters, most = _parameters(self.spec.knob, step.parameter), self.fetched(step.depth, step.factor)
        batches = [queries] if self.spec.knob == "efSearch" else [query[None] for query in queries]
        return np.concatenate([self._index.search(batch, most, params=parameters)[1] for batch in batches])

    def fetched(self, depth: int, factor: float) -> int:
        """How many rows FAISS is asked for, to find the best `depth`."""
        return min(int(np.ceil(depth * factor)) + _SPARE, self.size)

    def _rank(self, query: Float32, rows: Int64, k: int) -> Hits:
        scores = self.scores(query[None], rows[None])[0]
        if 2 * k < len(rows):
            kept = np.flatnonzero(scores >= np.partition(scores, len(rows) - k)[len(rows) - k])
            rows, scores = rows[kept], scores[kept]
        rows, scores = _best_first(rows[None], scores[None])
        return Hits(rows[0, :k], scores[0, :k])

    def scores(self, queries: Float32, rows: Int64) -> Float32:
        """Inner products [B, F] of queries [B, D] with their rows [B, F], each summed by itself and read where it lies:
        a score does not depend on what else is scored beside it, and nothing is copied. -inf for a row below 0."""
        import faiss

        scores = np.empty(rows.shape, np.float32)
        pointers = (faiss.swig_ptr(array) for array in (scores, queries, self.vectors, rows))
        faiss.fvec_inner_products_by_idx(*pointers, self.dimension, *rows.shape)  # type: ignore[attr-defined]
        return scores

    def _limit_threads(self) -> None:
        import faiss

        # of the thread that searches: OpenMP keeps the count for each thread apart
        faiss.omp_set_num_threads(self._threads)


def unit_rows(vectors: Float32) -> Float32:
    """Rows [B, D] of length 1, to the last digit that float32 has; a row of zeros stays one."""
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    return np.ascontiguousarray(vectors / np.where(lengths > 0, lengths, 1.0), np.float32)


def _set_blas_threshold() -> None:
    import faiss

    faiss.cvar.distance_compute_blas_threshold = _BLAS_FROM


def _parameters(knob: str, value: int) -> Any:
    import faiss

    # FAISS's stubs know neither
    if knob == "nprobe":
        return faiss.SearchParametersIVF(nprobe=value)  # type: ignore[call-arg]
    return faiss.SearchParametersHNSW(efSearch=value) if knob == "efSearch" else None  # type: ignore[attr-defined]


def _best_first(rows: Int64, scores: Float32) -> tuple[Int64, Float32]:
    """Rows and scores [B, F], in each row the best score first, equal ones in the order of the rows."""
    if (scores[:, 1:] < scores[:, :-1]).all():
        return rows, scores
    every = np.arange(len(rows))[:, None]
    # a stable sort takes next to no time over what is nearly in order, as FAISS's answers are
    order = np.argsort(-scores, axis=1, kind="stable")
    ordered = scores[every, order]
    tied = ordered[:, 1:] == ordered[:, :-1]
    if tied.any() and (tied & (ordered[:, 1:] > -np.inf)).any():
        order = np.lexsort((rows, -scores), axis=1)
        ordered = scores[every, order]
    return rows[every, order], ordered


def _outside(rows: Int64, excluded: Int64) -> Mask:
    """True where a row is not among the `excluded`, which are sorted, at least one: for 158 rows and 50 excluded
    `np.isin` takes twenty times as long."""
    # without the last one a place is never beyond the end
    outside: Mask = excluded[excluded[:-1].searchsorted(rows)] != rows
    return outside


def _rounding(query: Float32) -> float:
    return _ROUNDING * float(np.linalg.norm(query))
