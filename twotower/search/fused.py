"""Finds the products of highest fused score, see `fused_score`.

A flat index reads every vector anyway, and adds the other parts of the score to every inner product. Another kind finds
candidates in lists, see `threshold`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from twotower.arrays import Float32, Int64, Mask
from twotower.errors import CorruptArtifact, InvalidInput
from twotower.search.fused_score import FusedScore
from twotower.search.neighbours import History
from twotower.search.ranking import Hits, distinct, inner_products, outside, united
from twotower.search.threshold import Lists
from twotower.search.vector_index import FLOATS_IN_A_MILLISECOND, VectorIndex

# what is added to the scores is kept for so many products x queries at a time
_ADDED = 8_000_000
# with a prior, the lists are read to this many times k at first, and to this many times more in each further round
_FIRST, _FURTHER = 2, 4
# the time of adding one entry of the table of neighbours to a score, and of its row as a candidate of its own
_ENTRY_MS, _CANDIDATE_MS = 1e-5, 2e-4


class FusedSearch:
    """The products of highest fused score in an index, for a buyer's vector and history.

    It promises what `VectorIndex` promises: scores are exact, equal ones come in the order of the rows, an answer does
    not depend on its batch, and there are min(k, allowed) rows. Over a flat index they are the true best. Over another
    kind, it misses a product of high inner product as rarely as the index does, and no other.
    """

    def __init__(self, index: VectorIndex, score: FusedScore) -> None:
        """Raises CorruptArtifact if the two are of different numbers of products."""
        if index.size != score.size:
            raise CorruptArtifact(f"the index holds {index.size} products, the fused score {score.size}")
        self._index = index
        self._score = score
        self._parts = [FusedSearch(one, score) for one in index.parts]
        first, stop = index.part
        # all rows that the index holds, best prior first
        self._by_prior: Int64 = np.arange(first, stop)
        if score.base is not None:
            self._by_prior = first + np.argsort(-score.base[first:stop], kind="stable")

    @property
    def score(self) -> FusedScore:
        return self._score

    def milliseconds(self, queries: int) -> float:
        """About how long an unfiltered search for so many queries takes."""
        entries = self._score.entries_per_history
        if self._score.vector_weight and self._index.is_exact:
            return self._index.milliseconds(queries) + queries * entries * _ENTRY_MS
        candidates = queries * entries * _CANDIDATE_MS
        if not self._score.vector_weight:
            return candidates
        # a prior mostly takes a second round
        rounds = 1 if self._score.base is None else 2
        reading = queries * entries * self._index.dimension / FLOATS_IN_A_MILLISECOND
        return rounds * self._index.milliseconds(queries) + candidates + reading

    def search(
        self,
        queries: Float32,
        histories: Sequence[History],
        ks: Sequence[int],
        excluded: Sequence[Int64],
        allowed: Mask | None = None,
    ) -> list[Hits]:
        """The min(k, allowed) rows of highest score for each query [B, D] and its history, without its excluded rows.

        `allowed` [N] is true for the rows that may be found; None allows all.
        """
        index, score = self._index, self._score
        if self._parts:
            return united([one.search(queries, histories, ks, excluded, allowed) for one in self._parts], ks)
        if queries.shape[1] != index.dimension:
            raise InvalidInput("vectors.dimension", queries.shape[1], f"the index has {index.dimension} dimensions")
        if score.vector_weight != 1:
            queries = queries * score.vector_weight
        if score.is_plain:
            return index.search(queries, ks, excluded, allowed)
        if score.vector_weight and index.scans(allowed):
            return self._scan(queries, histories, ks, excluded, allowed)
        return self._merge_lists(queries, histories, ks, [distinct(rows) for rows in excluded], allowed)

    def _scan(
        self,
        queries: Float32,
        histories: Sequence[History],
        ks: Sequence[int],
        excluded: Sequence[Int64],
        allowed: Mask | None,
    ) -> list[Hits]:
        """Adds the other parts to the inner products of all allowed products."""
        found, block = list[Hits](), max(1, _ADDED // self._index.size)
        for start in range(0, len(queries), block):
            part = slice(start, start + block)
            added = self._score.added(histories[part])
            found += self._index.search_exactly(queries[part], ks[part], excluded[part], allowed, added)
        return found

    def _merge_lists(
        self,
        queries: Float32,
        histories: Sequence[History],
        ks: Sequence[int],
        excluded: Sequence[Int64],
        allowed: Mask | None,
    ) -> list[Hits]:
        by_prior = self._by_prior if allowed is None else self._by_prior[allowed[self._by_prior]]
        depths = [self._depths(k) for k in ks]
        by_vector = self._first_by_vector(queries, depths, excluded, allowed)
        results = []
        for place, history in enumerate(histories):
            near = self._score_neighbours(queries[place], history, excluded[place], allowed)
            lists = Lists(queries[place], self._index.vectors, near, by_prior, self._score.base, excluded[place])
            best = None
            for depth in depths[place]:
                found = by_vector[place]
                if depth != depths[place][0]:
                    (found,) = self._index.search(queries[place][None], [depth], [excluded[place]], allowed)
                best = lists.best(found, ks[place], depth)
                if best is not None:
                    break
            if best is None:
                one = slice(place, place + 1)
                (best,) = self._scan(queries[one], histories[one], ks[one], excluded[one], allowed)
            results.append(best)
        return results

    def _first_by_vector(
        self, queries: Float32, depths: Sequence[Sequence[int]], excluded: Sequence[Int64], allowed: Mask | None
    ) -> list[Hits | None]:
        """The best rows of each query by vector, to its first depth; None without one, or without a vector weight."""
        found: list[Hits | None] = [None] * len(queries)
        asked = [place for place, rounds in enumerate(depths) if rounds] if self._score.vector_weight else []
        if asked:
            first, without = [depths[place][0] for place in asked], [excluded[place] for place in asked]
            for place, hits in zip(asked, self._index.search(queries[asked], first, without, allowed), strict=True):
                found[place] = hits
        return found

    def _score_neighbours(self, query: Float32, history: History, excluded: Int64, allowed: Mask | None) -> Hits:
        """The allowed rows to which a history adds something, rising, and their whole scores."""
        rows, scores = self._score.added_to_neighbours(history)
        own = slice(*rows.searchsorted(self._index.part))
        rows, scores = rows[own], scores[own]
        if allowed is not None:
            keep = allowed[rows]
            rows, scores = rows[keep], scores[keep]
        if len(excluded):
            keep = outside(rows, excluded)
            rows, scores = rows[keep], scores[keep]
        if self._score.vector_weight:
            scores = scores + inner_products(self._index.vectors, query[None], rows[None])[0]
        return Hits(rows, scores)

    def _depths(self, k: int) -> list[int]:
        """How deep to read the lists, one round after another; no rounds if the index would scan."""
        if not self._score.vector_weight:
            return [k]
        deepest = self._index.deepest
        if k > deepest:
            return []
        # without a prior, only the best k by vector can be better than all that is in no list
        if self._score.base is None:
            return [k]
        depths = [k * _FIRST]
        while depths[-1] < deepest:
            depths.append(depths[-1] * _FURTHER)
        return [*depths[:-1], deepest]
