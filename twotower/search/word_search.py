"""Search by a text's vector and its words: the cosine, plus what the words add (see `WordWeights`).

Products near the vector are united with those that hold the words, and both scores are exact for all of them. A sum of
calibrated scores, not of ranks: the ranks of a noisy string's words say little, and its score says so.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from twotower.arrays import Float32, Float64, Int64, Mask
from twotower.artifact.manifest import WordWeights
from twotower.errors import CorruptArtifact
from twotower.search.ranking import Hits, best_first, distinct, inner_products, outside, united
from twotower.search.vector_index import VectorIndex
from twotower.search.word_index import Word, WordIndex

# what a head with a typing error counts as evidence: chosen on queries made from the demo market whose noun was hidden,
# with all products that hold it
_MISSPELT = 0.15
# what is added to the scores is kept for so many products x queries at a time
_ADDED = 8_000_000
# products that hold the words and are candidates beside the nearest by vector, at least, and for each one wanted
_CANDIDATES, _CANDIDATES_EACH = 2000, 4


class WordSearch:
    """The products of highest score for a vector and words.

    Over a flat index the rows are the true best. Over another kind, the best of the nearest by vector and of the
    2,000 that hold most of the words.
    """

    def __init__(
        self, index: VectorIndex, words: WordIndex, weights: WordWeights, tie_breaker: Float32 | None = None
    ) -> None:
        """`tie_breaker` [N] is added to all scores. Raises CorruptArtifact if the two are of different numbers of
        products.
        """
        if index.size != words.size:
            raise CorruptArtifact(f"the text index holds {index.size} products, the index of words {words.size}")
        self.words = words
        self._index = index
        self.weights = weights
        self.tie_breaker = tie_breaker
        self._parts = [WordSearch(one, words.within(one.part), weights, tie_breaker) for one in index.parts]

    def search(
        self,
        queries: Float32,
        words: Sequence[Sequence[Word]],
        ks: Sequence[int],
        excluded: Sequence[Int64],
        allowed: Mask | None = None,
    ) -> list[Hits]:
        """The min(k, allowed) rows of highest score for each query [B, D] and its words, without its excluded rows."""
        if self._parts:
            return united([one.search(queries, words, ks, excluded, allowed) for one in self._parts], ks)
        found, block = list[Hits](), max(1, _ADDED // self._index.size)
        for start in range(0, len(queries), block):
            part = slice(start, start + block)
            added = np.stack([added_by_words(self.words, self.weights, one) for one in words[part]])
            if self._index.scans(allowed):
                if self.tie_breaker is not None:
                    added += self.tie_breaker
                found += self._index.search_exactly(queries[part], ks[part], excluded[part], allowed, added)
            else:
                found += self._unite(queries[part], added, ks[part], excluded[part], allowed)
        return found

    def _unite(
        self, queries: Float32, added: Float32, ks: Sequence[int], excluded: Sequence[Int64], allowed: Mask | None
    ) -> list[Hits]:
        by_vector = self._index.search(queries, ks, excluded, allowed)
        results = []
        for query, more, k, without, nearest in zip(queries, added, ks, excluded, by_vector, strict=True):
            rows = _candidates(more, distinct(without), allowed, max(_CANDIDATES, _CANDIDATES_EACH * k))
            rows = np.union1d(rows, nearest.rows)
            scores = inner_products(self._index.vectors, query[None], rows[None])[0] + more[rows]
            if self.tie_breaker is not None:
                scores += self.tie_breaker[rows]
            ordered, falling = best_first(rows[None], scores[None])
            results.append(Hits(ordered[0, :k], falling[0, :k]))
        return results


def added_by_words(index: WordIndex, weights: WordWeights, words: Sequence[Word]) -> Float32:
    """What words add to the cosines of all products [N]."""
    match = index.match(words)
    added: Float32 = np.float32(weights.weight * match.known) * match.scores
    if match.numbers is not None:
        added += np.float32(weights.number_weight * match.known_words**2) * match.numbers
    return added


def evidence(cosine: float, held: float, is_misspelt: bool) -> float:
    """How much says that a product answers a search, 0 to 2: the cosine, and how well it holds the search's head.

    `is_misspelt`: whether the head may be a word of the product with one typing error. "ليزر" makes no answer to
    "طابعة ليزر", however high the cosine that this word alone has; a misspelt "طابعه" needs a lower one.
    """
    return cosine + max(min(held, 1.0), _MISSPELT if is_misspelt else 0.0)


def tie_breaker(weights: WordWeights, popularity: Float64, in_stock: Mask) -> Float32 | None:
    """What popularity and stock add to the score of each product [N]; None if they have no weight."""
    if not weights.popularity_weight and not weights.stock_weight:
        return None
    less_popular = np.searchsorted(np.sort(popularity), popularity) / max(len(popularity), 1)
    added: Float32 = (weights.popularity_weight * less_popular - weights.stock_weight * ~in_stock).astype(np.float32)
    return added


def _candidates(added: Float32, excluded: Int64, allowed: Mask | None, count: int) -> Int64:
    """The rows [C], rising, to which the words add most."""
    rows = np.flatnonzero(added if allowed is None else added * allowed)
    if len(excluded) and len(rows):
        rows = rows[outside(rows, excluded)]
    if len(rows) > count:
        # in a stable order, so that a tie at the end goes to the first rows
        rows = np.sort(rows[np.argsort(-added[rows], kind="stable")[:count]])
    return rows
