"""Approximate search: FAISS finds candidates by codes or in a graph, their exact inner products rank them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from twotower.arrays import Float32, Int64, Mask
from twotower.artifact.manifest import IndexSpec, IndexStep
from twotower.search.milvus import MilvusCollection, Narrowed
from twotower.search.ranking import SPARE, Hits, best_first, inner_products, outside
from twotower.sharding import Rows

# under a filter, the index is asked for this much more than would hold k allowed rows on average
_FILTER_MARGIN = 1.3
# a shard reads lists that hold this many times the rows it searches for, on average; lists differ in length
_SHARD_MARGIN = 2


class ApproximateSearch:
    """Searches FAISS or Milvus, as `spec` says, over vectors [N, D] that rank its candidates.

    `part`: the rows that the index holds.
    """

    def __init__(self, index: Any, vectors: Float32, spec: IndexSpec, part: Rows) -> None:
        self.index = index
        self._vectors = vectors
        self._spec = spec
        self._part = part
        self.is_remote = isinstance(index, MilvusCollection)
        # FAISS has no filter
        self._payload = index.payload if isinstance(index, MilvusCollection) else None

    def search(
        self, queries: Float32, ks: Sequence[int], excluded: Sequence[Int64], allowed: Mask | None
    ) -> dict[int, Hits]:
        """The best `k` rows that the index finds for each query [B, D], all `allowed` [N], none excluded (sorted rows).

        A query has no answer here, and needs a scan, if a scan is faster or if the index finds too few rows. The best
        k allowed rows are the first k allowed ones in the order of all rows. So the index finds them as surely as the
        best `depth` rows, if k allowed ones are among these.
        """
        size = len(self._vectors)
        possible = size if allowed is None else int(np.count_nonzero(allowed))
        if allowed is not None and possible <= self._spec.exact_rows:
            return {}
        own = possible if self._part.size == size else _count(allowed, self._part)
        narrowed = Narrowed("", size)
        if self._payload is not None and allowed is not None:
            narrowed = self._payload.narrow(allowed)
        share = narrowed.rows / possible * (_FILTER_MARGIN if possible < narrowed.rows else 1.0)
        by_step: dict[IndexStep, list[int]] = defaultdict(list)
        for row, (k, without) in enumerate(zip(ks, excluded, strict=True)):
            step = self._step(int(np.ceil(k * share)) + len(without))
            if step is not None:
                by_step[step].append(row)
        results: dict[int, Hits] = {}
        for step, places in by_step.items():
            asked = queries if len(by_step) == 1 and len(places) == len(queries) else queries[places]
            rows = self.candidates(asked, step, narrowed)
            keep = rows >= 0
            if allowed is not None:
                keep &= allowed[rows]
            for place, row in enumerate(places):
                if len(excluded[row]):
                    keep[place] &= outside(rows[place], excluded[row])
            scores = np.where(keep, inner_products(self._vectors, asked, rows), -np.inf)
            rows, scores = best_first(rows, scores)
            for place, (row, found) in enumerate(zip(places, keep.sum(axis=1).tolist(), strict=True)):
                count = min(ks[row], own)
                if found >= count:
                    results[row] = Hits(rows[place, :count], scores[place, :count])
        return results

    def candidates(self, queries: Float32, step: IndexStep, within: Narrowed | None = None) -> Int64:
        """Rows [B, F] in which the index finds the best `step.depth` of each query [B, D], in the index's own order.

        -1 fills the end if it finds fewer. A list index gets one query a call: in a batch FAISS adds in another order,
        and an answer would depend on the other queries. A graph searches each query by itself anyway.
        """
        count = self.fetched(step.depth, step.factor)
        if isinstance(self.index, MilvusCollection):
            rows: Int64 = self.index.search(queries, count, step.parameter, within)[1]
            return rows
        parameters = _parameters(self._spec.knob, self._effort(step))
        batches = [queries] if self._spec.knob == "efSearch" else [query[None] for query in queries]
        rows = np.concatenate([self.index.search(batch, count, params=parameters)[1] for batch in batches])
        if self._part.first:
            rows[rows >= 0] += self._part.first
        return rows

    def _effort(self, step: IndexStep) -> int:
        """The value of the search parameter. The lists of a shard are short, and it reads more of them.

        Otherwise they would hold too few rows, and the shard would be scanned.
        """
        if self._spec.knob != "nprobe" or self._part.size == len(self._vectors):
            return step.parameter
        lists = int(self.index.nlist)
        return min(lists, max(step.parameter, -(-_SHARD_MARGIN * step.depth * lists // self._part.size)))

    def fetched(self, depth: int, factor: float) -> int:
        """How many rows FAISS is asked for to find the best `depth`."""
        return min(int(np.ceil(depth * factor)) + SPARE, self._part.size)

    def _step(self, depth: int) -> IndexStep | None:
        """The cheapest measured step that searches so deep; None if only a scan does."""
        return next((one for one in self._spec.steps if one.depth >= depth), None)


def _count(allowed: Mask | None, part: Rows) -> int:
    """How many rows of a part are allowed."""
    return part.size if allowed is None else int(np.count_nonzero(allowed[part.first : part.stop]))


def _parameters(knob: str, value: int) -> Any:
    import faiss

    # FAISS's stubs know neither
    if knob == "nprobe":
        return faiss.SearchParametersIVF(nprobe=value)  # type: ignore[call-arg]
    return faiss.SearchParametersHNSW(efSearch=value) if knob == "efSearch" else None  # type: ignore[attr-defined]
