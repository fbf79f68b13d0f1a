"""Encodes queries to text vectors: what a shopper typed, understood, and blended with the alternatives of its words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from item_service.query.query import Query, read
from item_service.query.shop_synonyms import ShopSynonyms
from item_service.query.suggestions import Suggestion, Suggestions
from item_service.query.understanding import Language, Understanding
from item_service.query.words import QueryWord, words_of
from twotower.arrays import Float32
from twotower.artifact.search_words import SearchWords
from twotower.caller import check_caller
from twotower.errors import InvalidInput
from twotower.graphs.text_encoder import TextEncoder

# alternatives of a word, and variants of a text, that its vector is blended with
_ALTERNATIVES = 3
_VARIANTS = 8
# queries that are remembered with their vectors, some 5 kB each, and the longest of them
_REMEMBERED, _SHORT = 4096, 100


class Typed(NamedTuple):
    """What a shopper typed; `raw`: search it as it is."""

    text: str
    raw: bool = False


class UnderstoodQuery(NamedTuple):
    """A query, the share of its words that are known, and the words to look for; or why it has no vector."""

    query: Query
    known_share: float
    words: Sequence[QueryWord] = ()
    error: InvalidInput | None = None


class _State(NamedTuple):
    """The understanding of now, and what it has understood of late: shoppers ask much the same."""

    understanding: Understanding
    remembered: dict[Typed, tuple[UnderstoodQuery, Float32]]


class EncodedQueries(NamedTuple):
    """Vectors [B, E] of the text encoder, all zero in rows with an error; rows [B]."""

    vectors: Float32
    rows: list[UnderstoodQuery]


class QueryEncoder:
    """Understands and encodes queries with the words and the text encoder of one version."""

    def __init__(
        self, text_encoder: TextEncoder, words: SearchWords, synonyms: ShopSynonyms, steps: Sequence[str], max_text: int
    ) -> None:
        self._text_encoder = text_encoder
        self._language = Language.of(words)
        self._suggestions = Suggestions(words)
        self._synonyms = synonyms
        self._steps = steps
        self._max_text = max_text
        self._state = _State(Understanding(self._language, synonyms.current, steps), {})

    def encode(self, queries: Sequence[Typed]) -> EncodedQueries:
        """Vectors [B, E] of a batch, in its order. A query that cannot be encoded has an error in its own row alone."""
        understanding, remembered = self._current()
        found = [remembered.get(one) for one in queries]
        new = [one for one, known in zip(queries, found, strict=True) if known is None]
        fresh = iter(self._encode(new, understanding))
        pairs = [next(fresh) if known is None else known for known in found]
        if len(remembered) > _REMEMBERED:
            remembered.clear()
        for one, (row, vector) in zip(queries, pairs, strict=True):
            if len(one.text) <= _SHORT and one not in remembered:
                # a view would keep the vectors of the whole batch
                remembered[one] = row, vector.copy()
        vectors = np.zeros((len(pairs), self._text_encoder.spec.dimension), np.float32)
        for place, (_, vector) in enumerate(pairs):
            vectors[place] = vector
        return EncodedQueries(vectors, [row for row, _ in pairs])

    def _encode(self, queries: Sequence[Typed], understanding: Understanding) -> list[tuple[UnderstoodQuery, Float32]]:
        rows = [self._understand(one, understanding) for one in queries]
        blends = [_blend(row.query, understanding) if row.error is None else [] for row in rows]
        vectors = np.zeros((len(rows), self._text_encoder.spec.dimension), np.float32)
        texts = [text for blend in blends for text, _ in blend]
        if texts:
            encoded = self._text_encoder.encode(texts)  # [T, E]
            start = 0
            for row, blend in enumerate(blends):
                if blend:
                    weights = np.array([weight for _, weight in blend], np.float32)
                    vectors[row] = _unit(weights @ encoded[start : start + len(blend)])
                    start += len(blend)
        return list(zip(rows, vectors, strict=True))

    def suggest(self, text: str, k: int) -> list[Suggestion]:
        """The k best completions of what is typed so far."""
        return self._suggestions.complete(text, k, self._current().understanding)

    def _current(self) -> _State:
        """The understanding with the shop's synonyms of now."""
        synonyms = self._synonyms.current
        if synonyms is not self._state.understanding.synonyms:
            self._state = _State(Understanding(self._language, synonyms, self._steps), {})
        return self._state

    def _understand(self, typed: Typed, understanding: Understanding) -> UnderstoodQuery:
        check_caller()
        if len(typed.text) > self._max_text:
            problem = f"has {len(typed.text)} characters, the limit is {self._max_text}"
            return UnderstoodQuery(Query(typed.text, ""), 0.0, error=InvalidInput("text", typed.text, problem))
        query = read(Query(typed.text, typed.text)) if typed.raw else understanding(typed.text)
        if not query.text:
            return UnderstoodQuery(query, 0.0, error=InvalidInput("text", typed.text, "holds no letter or digit"))
        return UnderstoodQuery(query, understanding.known.share(query.words), words_of(query))


def _blend(query: Query, understanding: Understanding) -> list[tuple[str, float]]:
    """The text, and the texts with one alternative in it, with their weights.

    An alternative weighs as much as its share of the products that have it or the word that it stands for.
    """
    known, padded = understanding.known, f" {query.text} "
    found = [(query.text, 1.0)]
    for phrase, alternatives in query.alternatives.items():
        own = known.phrase_count(phrase)
        for one in alternatives[:_ALTERNATIVES]:
            count = known.phrase_count(one.text)
            if count and one.weight > 0:
                text = padded.replace(f" {phrase} ", f" {one.text} ").strip()
                found.append((text, one.weight * count / (count + own)))
    return [found[0], *sorted(found[1:], key=lambda one: -one[1])[: _VARIANTS - 1]]


def _unit(vector: Float32) -> Float32:
    length = np.linalg.norm(vector)
    return vector / length if length else vector
