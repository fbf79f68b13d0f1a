"""Exact search over the vectors themselves: by FAISS, by the nearest-products graph, or by a scan of allowed rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from twotower.arrays import Float32, Int64
from twotower.graphs.nearest_products import NearestProducts
from twotower.search.ranking import SPARE, Hits, best_first, inner_products, outside

# FAISS is asked for k and the excluded rows; above this many, scoring every row once costs less
_MAX_FETCH = 4096
# two sums of the same products may differ by this share of the query's length: BLAS, FAISS, ONNX Runtime and numpy add
# in different orders, and the order depends on the batch size
_ROUNDING = 2e-6
# FAISS uses BLAS from this many floats of queries on (queries x dimensions): a batch of 32 queries of 384 dimensions
# then takes a quarter of the time, a single query would take four times as long
_BLAS_FROM = 2304
# up to this many queries share one pass of `NearestProducts`, which keeps every score; above, FAISS is as fast
_TOGETHER = 64
_NO_ROWS: Int64 = np.empty(0, np.int64)
_NO_HITS = Hits(_NO_ROWS, np.empty(0, np.float32))


class _Rough(NamedTuple):
    """Scores [B, F] of fetched rows, best first; `final`: as `inner_products` sums them, to the last bit.

    A row below 0 is none.
    """

    scores: Float32
    rows: Int64
    final: bool


class ExactSearch:
    """Finds the true best rows of vectors [N, D]; `nearest` is the graph of a small catalogue, if there is one."""

    def __init__(self, vectors: Float32, nearest: NearestProducts | None = None) -> None:
        import faiss

        self._vectors = vectors
        self._nearest = nearest
        self._every: Int64 = np.arange(len(vectors))[None]
        faiss.cvar.distance_compute_blas_threshold = _BLAS_FROM

    def search(
        self, queries: Float32, ks: Sequence[int], excluded: Sequence[Int64], added: Float32 | None = None
    ) -> dict[int, Hits]:
        """The best `k` rows of each query [B, D], none of them excluded (sorted rows).

        `added` [B, N] is added to the inner products. A query has no answer here, and needs a scan, if it excludes too
        many rows or if rounding might decide which row is the k-th.
        """
        size, is_lowered = len(self._vectors), added is not None and any(map(len, excluded))
        if added is not None and is_lowered:
            # excluded rows come last, so none is fetched in vain
            added, excluded = _lowered(added, excluded), [_NO_ROWS] * len(excluded)
        fetch = [min(k + len(rows) + SPARE, size) for k, rows in zip(ks, excluded, strict=True)]
        narrow = [row for row, count in enumerate(fetch) if count <= _MAX_FETCH]
        if not narrow:
            return {}
        if len(narrow) < len(fetch):
            queries, ks, excluded = queries[narrow], [ks[row] for row in narrow], [excluded[row] for row in narrow]
            added = None if added is None else added[narrow]
        count = max(fetch[row] for row in narrow)
        rough = self._find(queries, count, added)
        if is_lowered:
            is_out = rough.scores == -np.inf
            rough = _Rough(np.where(is_out, 0, rough.scores), np.where(is_out, -1, rough.rows), rough.final)
        found = self._settle(queries, rough, ks, excluded, added)
        return {row: hits for row, hits in zip(narrow, found, strict=True) if hits is not None}

    def scan(self, query: Float32, allowed: Int64, k: int, excluded: Int64, added: Float32 | None = None) -> Hits:
        """The best `k` of the `allowed` rows for one query [D]; reads no other row. `excluded` is sorted.

        `added` [N] is added to the inner products.
        """
        if len(excluded):
            allowed = allowed[outside(allowed, excluded)]
        if not len(allowed) or k <= 0:
            return _NO_HITS
        if k < len(allowed) == len(self._vectors):
            # BLAS is twice as fast over all rows, but its last digits depend on how many rows there are
            rough = self._vectors @ query
            if added is not None:
                rough += added
            kth = np.partition(rough, len(rough) - k)[len(rough) - k]
            spare = _ROUNDING * float(np.linalg.norm(query))
            if added is not None:
                spare = 2 * spare + _ROUNDING * abs(float(kth))
            allowed = allowed[rough >= kth - spare]
        scores = inner_products(self._vectors, query[None], allowed[None])[0]
        if added is not None:
            scores += added[allowed]
        if 2 * k < len(allowed):
            kept = np.flatnonzero(scores >= np.partition(scores, len(allowed) - k)[len(allowed) - k])
            allowed, scores = allowed[kept], scores[kept]
        rows, scores = best_first(allowed[None], scores[None])
        return Hits(rows[0, :k], scores[0, :k])

    def _find(self, queries: Float32, count: int, added: Float32 | None) -> _Rough:
        """The best `count` rows of each query [B, D]."""
        import faiss

        if self._nearest is not None and 1 < len(queries) <= _TOGETHER:
            return _Rough(*self._nearest.search(queries, count, added), final=False)
        if added is None:
            scores, rows = faiss.knn(queries, self._vectors, count, faiss.METRIC_INNER_PRODUCT)
            # without BLAS, FAISS sums each product by itself, as `inner_products` does
            return _Rough(scores, rows, final=queries.size < _BLAS_FROM)
        # FAISS can add nothing; over few vectors, BLAS is no faster for one query, and its sums would be rough
        final = self._nearest is not None and len(queries) == 1
        scores = inner_products(self._vectors, queries, self._every) if final else queries @ self._vectors.T
        scores += added
        every, rows = np.arange(len(queries))[:, None], np.argpartition(scores, -count, axis=1)[:, -count:]
        # best first, as the others answer
        rows = rows[every, np.argsort(-scores[every, rows], axis=1)]
        return _Rough(scores[every, rows], rows, final)

    def _settle(
        self,
        queries: Float32,
        rough: _Rough,
        ks: Sequence[int],
        excluded: Sequence[Int64],
        added: Float32 | None,
    ) -> list[Hits | None]:
        """The best `k` of each query's fetched rows [B, F]; None if a row that was not fetched might belong to them.

        The common case has a short way, because each numpy call costs ten microseconds in a process that has just
        slept.
        """
        scores, rows, final = rough
        size, width = len(self._vectors), rows.shape[1]
        spare = 0.0 if final else _ROUNDING * np.sqrt(np.einsum("bd,bd->b", queries, queries))
        exact = scores if final else inner_products(self._vectors, queries, rows)
        if added is not None and not final:
            exact += added[np.arange(len(rows))[:, None], rows]
            # rounding grows with the sums too, and none is above the first
            spare = 2 * spare + _ROUNDING * np.abs(scores[:, 0])
        counts: Sequence[int] = ks
        if min(ks) == max(ks) < width and not any(map(len, excluded)) and (rows[:, -1] >= 0).all():
            settled = (scores[:, ks[0] - 1] - scores[:, -1] > spare) | (width >= size)
        else:
            k, every = np.array(ks), np.arange(len(rows))
            keep = rows >= 0
            whole = keep.all(axis=1) & (width >= size)
            for place, one in enumerate(excluded):
                if len(one):
                    keep[place] &= outside(rows[place], one)
            found = keep.cumsum(axis=1)
            kth = scores[every, (found >= k[:, None]).argmax(axis=1)]
            last = scores[every, width - 1 - keep[:, ::-1].argmax(axis=1)]
            settled = whole | ((found[:, -1] > k) & (kth - last > spare))
            exact = np.where(keep, exact, -np.inf)
            counts = np.minimum(found[:, -1], k).tolist()
        rows, exact = best_first(rows, exact)
        return [
            Hits(rows[place, :count], exact[place, :count]) if done else None
            for place, (count, done) in enumerate(zip(counts, settled.tolist(), strict=True))
        ]


def _lowered(added: Float32, excluded: Sequence[Int64]) -> Float32:
    """What is added [B, N], with no score high enough for the excluded rows of each query."""
    lowered = added.copy()
    for scores, rows in zip(lowered, excluded, strict=True):
        scores[rows] = -np.inf
    return lowered
