"""Searches by vector and words, against brute force."""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np
import pytest

from tests.helpers.words import words_index
from trainer.config.schema import Index
from trainer.index.build import build, item_queries
from twotower.arrays import Float32
from twotower.artifact.manifest import WordWeights
from twotower.errors import CorruptArtifact
from twotower.search.vector_index import VectorIndex, unit_rows
from twotower.search.word_index import Word
from twotower.search.word_search import WordSearch, added_by_words, tie_breaker

COUNT = 400
NOUNS = ["خاتم", "سلسال", "عطر", "بخور", "زيت"]
TITLES = [f"{NOUNS[row % 5]} {NOUNS[row % 3]} مقاس {row % 7}" for row in range(COUNT)]
WORDS = words_index(TITLES)
WEIGHTS = WordWeights(weight=0.4, number_weight=0.2)
ASKED = [[Word("خاتم"), Word("3", is_number=True, group=1)], [Word("عطر"), Word("مجهول", group=1)], [Word("مجهول")]]
NONE = np.empty(0, np.int64)


def vectors(count: int = COUNT, seed: int = 0) -> Float32:
    return unit_rows(np.random.default_rng(seed).normal(size=(count, 16)).astype(np.float32))


def flat(rows: Float32) -> VectorIndex:
    index: Any = faiss.IndexFlatIP(rows.shape[1])
    index.add(rows)
    return VectorIndex(index, rows)


def brute(rows: Float32, query: Float32, words: list[Word], k: int, allowed: np.ndarray, gone: list[int]) -> list[int]:
    scores = rows.astype(np.float64) @ query + added_by_words(WORDS, WEIGHTS, words)
    order = sorted(range(COUNT), key=lambda row: (-scores[row], row))
    return [row for row in order if allowed[row] and row not in gone][:k]


@pytest.mark.parametrize("kind", ["flat", "compact"])
@pytest.mark.parametrize("is_filtered", [False, True])
def test_the_best_sums_are_found(kind: str, is_filtered: bool) -> None:
    rows, queries = vectors(), vectors(3, 1)
    index = flat(rows)
    if kind == "compact":
        made = build(rows, item_queries(rows, 7), Index(kind="compact", target_recall=0.99), 7, 1)
        index = VectorIndex(made.index, rows, made.spec.model_copy(update={"exact_rows": 0}))
    allowed = np.arange(COUNT) % 2 == 0 if is_filtered else np.ones(COUNT, np.bool_)
    gone = np.array([0, 15, 30], np.int64)
    found = WordSearch(index, WORDS, WEIGHTS).search(
        queries, ASKED, [5, 10, 20], [gone, NONE, NONE], allowed if is_filtered else None
    )
    for place, (k, without) in enumerate(((5, gone.tolist()), (10, []), (20, []))):
        assert found[place].rows.tolist() == brute(rows, queries[place], ASKED[place], k, allowed, without)


def test_what_words_add_is_calibrated() -> None:
    added = added_by_words(WORDS, WEIGHTS, [Word("خاتم"), Word("3", is_number=True, group=1)])
    match = WORDS.match([Word("خاتم"), Word("3", is_number=True, group=1)])
    assert match.numbers is not None
    np.testing.assert_allclose(added, 0.4 * match.scores + 0.2 * match.numbers, atol=1e-6)
    half = WORDS.match([Word("خاتم"), Word("مجهول", group=1)])
    np.testing.assert_allclose(
        added_by_words(WORDS, WEIGHTS, [Word("خاتم"), Word("مجهول", group=1)]),
        0.4 * half.known * half.scores,
        atol=1e-6,
    )


def test_an_index_of_other_products_is_refused() -> None:
    with pytest.raises(CorruptArtifact, match="holds 10 products, the index of words 400"):
        WordSearch(flat(vectors(10)), WORDS, WEIGHTS)


def test_popularity_and_stock_order_what_matches_alike() -> None:
    weights = WordWeights(weight=0.5, popularity_weight=0.02, stock_weight=0.04)
    popularity, in_stock = np.array([0.1, 0.0, 0.7, 0.2]), np.array([True, True, False, True])
    ties = tie_breaker(weights, popularity, in_stock)
    assert ties is not None
    np.testing.assert_allclose(ties, [0.005, 0, 0.015 - 0.04, 0.01], atol=1e-7)
    alike = np.tile(vectors(1), (4, 1))
    index = words_index(["خاتم ذهب"] * 4)
    (found,) = WordSearch(flat(alike), index, weights, ties).search(alike[:1], [[Word("خاتم")]], [4], [NONE])
    assert found.rows.tolist() == [3, 0, 1, 2]
    assert tie_breaker(WordWeights(), popularity, in_stock) is None


def test_an_index_with_codes_breaks_ties_too() -> None:
    rows, draw = vectors(), np.random.default_rng(3)
    ties = draw.random(COUNT).astype(np.float32) * np.float32(0.02)
    made = build(rows, item_queries(rows, 7), Index(kind="compact", target_recall=0.99), 7, 1)
    index = VectorIndex(made.index, rows, made.spec.model_copy(update={"exact_rows": 0}))
    (found,) = WordSearch(index, WORDS, WEIGHTS, ties).search(rows[:1], [ASKED[0]], [5], [NONE])
    scores = rows @ rows[0] + added_by_words(WORDS, WEIGHTS, ASKED[0]) + ties
    assert found.rows.tolist() == np.argsort(-scores, kind="stable")[:5].tolist()
