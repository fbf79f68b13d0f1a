"""Searches the products of a version by vector and by text, and with them the live ones."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from retrieval_service.answers import Answers
from retrieval_service.filters.allowed import Allowed
from retrieval_service.filters.filters import Filters
from retrieval_service.live.view import LiveView
from retrieval_service.query import Answer, Filter, Merge, Query, check_queries
from retrieval_service.reasons import Parts, Reasons, explain
from retrieval_service.search.ranking import BY_VECTOR, Ranking, Rankings
from twotower.arrays import Float32, Int32, Int64, Mask
from twotower.caller import check_caller
from twotower.errors import InvalidInput
from twotower.search.diversity import Vectors, candidates, diversify, pool
from twotower.search.fused import FusedSearch
from twotower.search.fused_score import FusedScore
from twotower.search.ranking import Hits
from twotower.search.vector_index import VectorIndex, unit_rows
from twotower.search.word_index import head_of
from twotower.search.word_search import WordSearch, evidence
from twotower.text.spelling import holds_misspelt
from twotower.text.words import indexed_words

# queries searched at once, and candidates that they may have together: a few milliseconds of work
_TOGETHER, _CANDIDATES_TOGETHER = 64, 16_384
# far above the length 1 of a tower's vector, far below the lengths whose inner products overflow
_MAX_LENGTH = 1e6


class Texts(NamedTuple):
    """The texts of the products, in the rows of the other vectors: their vectors, their words, and what tells an answer
    from none: the cosine of words that nothing answers, and with words the evidence of an answer.
    """

    vectors: VectorIndex
    words: WordSearch
    noise: float
    noise_with_words: float


class Searches:
    """The vectors and the texts of one version; row i of each is the same product."""

    def __init__(
        self,
        index: VectorIndex,
        score: FusedScore,
        texts: Texts,
        rows: Mapping[str, int],
        filters: Filters,
        answers: Answers,
        name_of: Callable[[str], str],
    ) -> None:
        """`rows`: product id → row. `name_of`: a product's title, brand and category by its id.

        Raises CorruptArtifact if index and score are of different numbers of products.
        """
        self._index = index
        self._rankings = Rankings(index, score, rows)
        self._texts = texts
        self._filters = filters
        self._answers = answers
        self._name_of = name_of

    @property
    def is_remote(self) -> bool:
        """Whether a search by vector waits for another process."""
        return self._index.is_remote

    def milliseconds(self, queries: int) -> float:
        """About how long an unfiltered search for so many queries takes."""
        return self._rankings.fused.milliseconds(queries)

    def by_vector(self, vectors: Float32, queries: Sequence[Query]) -> list[Answer]:
        """The best products for each of `vectors` [B, D]; one answer per query, in order.

        Queries with the same ranking and filters are searched together. Raises InvalidInput if the numbers of vectors
        and queries differ, and for a wrong dimension, k, diversity or history, or a number that is not finite.
        """
        _check(self._index, vectors, queries)
        rankings = list[Ranking]()
        for place, one in enumerate(queries):
            check_caller()
            if one.words:
                raise InvalidInput(
                    f"queries[{place}].words", one.words[0].text, "has an effect on a search by text alone"
                )
            if one.parts is not None and not one.history:
                raise InvalidInput(
                    f"queries[{place}].parts", len(one.parts.data), "have an effect with a history alone"
                )
            rankings.append(self._rankings.read(one.history, one.follows, f"queries[{place}]"))
        return self._search(self._index, vectors, queries, rankings)

    def by_text(self, vectors: Float32, queries: Sequence[Query]) -> list[Answer]:
        """Like `by_vector`, by the cosines of text vectors [B, E] with the text vectors of the products, and by words.

        Raises InvalidInput for a query with a history, too: it would have no effect.
        """
        _check(self._texts.vectors, vectors, queries)
        for place, query in enumerate(queries):
            for field, value in (("history", query.history), ("follows", query.follows)):
                if value:
                    raise InvalidInput(f"queries[{place}].{field}", value, "has no effect on a search by text")
        rankings = [BY_VECTOR] * len(queries)
        return self._search(self._texts.vectors, unit_rows(vectors), queries, rankings)

    def _search(
        self, index: VectorIndex, vectors: Float32, queries: Sequence[Query], rankings: Sequence[Ranking]
    ) -> list[Answer]:
        together: dict[tuple[Filter, FusedSearch | None, bool], list[int]] = defaultdict(list)
        for place, query in enumerate(queries):
            together[query.filter, rankings[place].fused, bool(query.words)].append(place)
        noise = self._texts.noise if index is self._texts.vectors else -math.inf
        answers: dict[int, Answer] = {}
        for (wanted, _, _), places in together.items():
            allowed = self._filters.allowed(wanted)
            chosen_from = self._vectors_of(index, allowed.view)
            for part in _parts(places, queries):
                check_caller()
                here = [queries[place] for place in part]
                asked = vectors if len(part) == len(queries) else vectors[part]
                found = self._find(index, asked, here, [rankings[place] for place in part], allowed)
                for place, query, hits in zip(part, here, found, strict=True):
                    chosen = hits
                    if not query.for_merge:
                        chosen = diversify(hits, chosen_from, query.k, query.diversity)
                        chosen = self._answers.sorted(chosen, query.sort, allowed.view)
                    below = bool(len(hits.scores)) and self._is_below(query, vectors[place], hits, noise, allowed.view)
                    rows = chosen.rows if allowed.view is None else allowed.view.trained_rows(chosen.rows)
                    followers = _count(rows, rankings[place].followers)
                    answer = self._answers.answer(chosen, allowed, below, followers)
                    if query.parts is not None:
                        reasons = self._explain(query.parts, rankings[place], chosen.rows, chosen_from, allowed.view)
                        answer = answer._replace(reasons=reasons)
                    if query.for_merge:
                        answer = answer._replace(
                            merge=self._merge(chosen, query, rankings[place], chosen_from, allowed)
                        )
                    answers[place] = self._answers.with_also(answer, query, allowed)
        return [answers[place] for place in range(len(queries))]

    def _find(
        self,
        index: VectorIndex,
        vectors: Float32,
        queries: Sequence[Query],
        rankings: Sequence[Ranking],
        allowed: Allowed,
    ) -> list[Hits]:
        """The best products of each query; all queries rank in the same way. Rows from N on are live products."""
        ks, excluded = (
            [candidates(one.k, one.diversity) for one in queries],
            [self._filters.excluded(one) for one in queries],
        )
        view, fused, has_words = allowed.view, rankings[0].fused, bool(queries[0].words)
        words, histories = [one.words for one in queries], [one.history for one in rankings]

        def find(places: Sequence[int], ks: Sequence[int], mask: Mask | None) -> list[Hits]:
            asked = vectors if len(places) == len(vectors) else vectors[list(places)]
            without = [excluded[place] for place in places]
            if has_words:
                return self._texts.words.search(asked, [words[place] for place in places], ks, without, mask)
            if fused is None:
                return index.search(asked, ks, without, mask)
            return fused.search(asked, [histories[place] for place in places], ks, without, mask)

        if view is None:
            return find(range(len(queries)), ks, allowed.mask)
        found = view.find(find, ks, excluded, allowed.mask)
        if not view.count:
            return found
        if has_words:
            scores = view.by_words(vectors, words)
        elif fused is None:
            scores = view.by_vector(vectors, texts=index is self._texts.vectors)
        else:
            scores = view.by_history(vectors, histories, fused.score)
        own = [view.slots_of(one.excluded_ids) for one in queries]
        return [
            view.unite(hits, row, allowed.slots, without, k)
            for hits, row, without, k in zip(found, scores, own, ks, strict=True)
        ]

    def _is_below(self, query: Query, vector: Float32, hits: Hits, noise: float, view: LiveView | None) -> bool:
        """Whether the best product is no answer to the query."""
        if not query.words:
            return float(hits.scores[0]) <= noise
        row, limit, texts = int(hits.rows[0]), self._texts.noise_with_words, self._texts
        is_live = row >= self._index.size and view is not None
        own = view.text(row) if view is not None and is_live else texts.vectors.vectors[row]
        cosine = float(own @ vector)
        # most answers need no second look at their words
        if cosine > limit:
            return False
        head = head_of(query.words)
        held = view.held(head, row) if view is not None and is_live else texts.words.words.held(head, row)
        if evidence(cosine, held, is_misspelt=False) > limit:
            return False
        name = self._name_of(self._answers.id_of(row, view))
        return evidence(cosine, held, holds_misspelt(indexed_words(name), head[0].text)) <= limit

    def _explain(
        self, parts: Parts, ranking: Ranking, rows: Int64, chosen_from: Vectors, view: LiveView | None
    ) -> Reasons:
        trained = rows if view is None else view.trained_rows(rows)
        vectors = np.array([chosen_from.vector(row) for row in rows.tolist()], np.float32)
        vectors = vectors.reshape(len(rows), self._index.dimension)
        return explain(parts, ranking.history, self._rankings.score, self._answers.ids, trained, vectors)

    def _merge(self, hits: Hits, query: Query, ranking: Ranking, chosen_from: Vectors, allowed: Allowed) -> Merge:
        view = allowed.view
        orders = hits.rows if view is None else view.orders(hits.rows)
        merge = self._answers.merge(hits, orders, query, view)
        if query.follows:
            rows = hits.rows if view is None else view.trained_rows(hits.rows)
            merge = merge._replace(is_follower=np.isin(rows, ranking.followers))
        return merge._replace(vectors=pool(hits, chosen_from)) if query.diversity else merge

    def _vectors_of(self, index: VectorIndex, view: LiveView | None) -> Vectors:
        return index if view is None else view.vectors(index.vectors, texts=index is self._texts.vectors)


def _parts(places: Sequence[int], queries: Sequence[Query]) -> Iterator[Sequence[int]]:
    """Cuts the places of some queries into parts that are searched at once."""
    most = max(candidates(queries[place].k, queries[place].diversity) for place in places)
    size = max(1, min(_TOGETHER, _CANDIDATES_TOGETHER // most))
    for start in range(0, len(places), size):
        yield places[start : start + size]


def _count(rows: Int64, wanted: Int32) -> int:
    # most queries follow no product, and even an empty `np.isin` costs some microseconds
    return int(np.isin(rows, wanted).sum()) if len(wanted) else 0


def _check(index: VectorIndex, vectors: Float32, queries: Sequence[Query]) -> None:
    if len(vectors) != len(queries):
        raise InvalidInput("queries", len(queries), f"queries for {len(vectors)} vectors")
    if vectors.shape[1] != index.dimension:
        raise InvalidInput("vectors.dimension", vectors.shape[1], f"the index has {index.dimension} dimensions")
    squares = np.einsum("bd,bd->b", vectors, vectors, dtype=np.float64).tolist()  # [B]
    for row, square in enumerate(squares):
        if not square <= _MAX_LENGTH**2:
            raise InvalidInput(
                "vectors.data", math.sqrt(square), f"is the length of vector {row}, the limit is {_MAX_LENGTH:.0e}"
            )
    check_queries(queries)
