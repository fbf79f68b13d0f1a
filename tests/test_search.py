"""Exact top-K with excluded and allowed rows, against numpy."""

from __future__ import annotations

from pathlib import Path

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tiny_artifact import write_object_array

from twotower import search
from twotower.errors import CorruptArtifact, InvalidInput
from twotower.search import VectorIndex

Float32 = NDArray[np.float32]
NONE = np.empty(0, np.int64)


def index_of(vectors: Float32) -> VectorIndex:
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    return VectorIndex(index, vectors)


def unit(size: int, dimension: int, seed: int) -> Float32:
    vectors = np.random.default_rng(seed).normal(size=(size, dimension)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def brute_force(vectors: Float32, query: Float32, allowed: set[int], k: int) -> list[int]:
    scores = [(-float((vectors[row] * query).sum()), row) for row in allowed]
    return [row for _, row in sorted(scores)[:k]]


def test_search_matches_inner_products_worked_out_by_hand() -> None:
    index = index_of(np.array([[1, 0], [0, 1], [0.6, 0.8], [-1, 0]], np.float32))
    (hits,) = index.search(np.array([[1, 0]], np.float32), [3], [NONE])
    assert hits.rows.tolist() == [0, 2, 1]
    np.testing.assert_allclose(hits.scores, [1.0, 0.6, 0.0])


def test_an_excluded_row_is_left_out_and_the_next_one_takes_its_place() -> None:
    index = index_of(np.array([[1, 0], [0, 1], [0.6, 0.8], [-1, 0]], np.float32))
    (hits,) = index.search(np.array([[1, 0]], np.float32), [2], [np.array([0, 0])])
    assert hits.rows.tolist() == [2, 1]


def test_each_query_has_its_own_k_and_its_own_excluded_rows() -> None:
    vectors = unit(50, 4, 0)
    excluded = [np.array([3, 5]), NONE, np.arange(50)]
    found = index_of(vectors).search(vectors[[3, 4, 5]], [10, 1, 5], excluded)
    for place, query in enumerate(vectors[[3, 4, 5]]):
        allowed = set(range(50)) - set(excluded[place].tolist())
        assert found[place].rows.tolist() == brute_force(vectors, query, allowed, [10, 1, 5][place])
    assert found[2].rows.tolist() == []


def test_k_beyond_the_corpus_gives_every_allowed_row() -> None:
    vectors = unit(7, 3, 1)
    (hits,) = index_of(vectors).search(vectors[:1], [1000], [np.array([6])])
    assert sorted(hits.rows.tolist()) == [0, 1, 2, 3, 4, 5]
    assert hits.rows[0] == 0


def test_no_queries_have_no_answers() -> None:
    assert index_of(unit(3, 3, 0)).search(np.empty((0, 3), np.float32), [], []) == []


def test_a_query_of_another_dimension_names_both_numbers() -> None:
    with pytest.raises(InvalidInput, match=r"dimension 4: the index has 3 dimensions"):
        index_of(unit(3, 3, 0)).search(np.zeros((1, 4), np.float32), [1], [NONE])


@pytest.mark.parametrize("duplicates", [3, 60])
def test_equal_scores_come_in_the_order_of_the_rows(duplicates: int) -> None:
    # more copies than FAISS is asked for: which of them it returns is up to it
    vectors = np.repeat(unit(5, 24, 2), duplicates, axis=0)
    order = np.random.default_rng(0).permutation(len(vectors))
    vectors = np.ascontiguousarray(vectors[order])
    queries = unit(30, 24, 3)
    found = index_of(vectors).search(queries, [7] * 30, [NONE] * 30)
    for query, hits in zip(queries, found, strict=True):
        assert hits.rows.tolist() == brute_force(vectors, query, set(range(len(vectors))), 7)


def test_a_vector_of_zeros_ties_with_everything() -> None:
    (hits,) = index_of(unit(100, 3, 0)).search(np.zeros((1, 3), np.float32), [4], [np.array([1])])
    assert hits.rows.tolist() == [0, 2, 3, 4]
    assert hits.scores.tolist() == [0.0] * 4


def test_a_query_gets_the_same_answer_alone_and_in_any_batch() -> None:
    vectors, queries = unit(3000, 384, 4), unit(40, 384, 5)
    index = index_of(vectors)
    together = index.search(queries, [50] * 40, [NONE] * 40)
    for query, hits in zip(queries, together, strict=True):
        (alone,) = index.search(query[None], [50], [NONE])
        scanned = index.scan(query, np.arange(3000), 50, NONE)
        for other in (alone, scanned):
            np.testing.assert_array_equal(other.rows, hits.rows)
            np.testing.assert_array_equal(other.scores, hits.scores)


def test_more_rows_than_faiss_is_asked_for_are_scanned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "_MAX_FETCH", 20)
    vectors = unit(60, 4, 6)
    excluded = np.arange(30)
    (hits,) = index_of(vectors).search(vectors[:1], [5], [excluded])
    assert hits.rows.tolist() == brute_force(vectors, vectors[0], set(range(30, 60)), 5)


def test_an_index_that_finds_too_few_is_made_up_for_by_a_scan() -> None:
    class Lossy:
        """As an inverted-list index does when it probes too few lists."""

        ntotal, d = 60, 4

        def search(self, queries: Float32, k: int) -> tuple[Float32, NDArray[np.int64]]:
            return np.full((len(queries), k), -1.0, np.float32), np.full((len(queries), k), -1, np.int64)

    vectors = unit(60, 4, 7)
    (hits,) = VectorIndex(Lossy(), vectors).search(vectors[:1], [10], [NONE])
    assert hits.rows.tolist() == brute_force(vectors, vectors[0], set(range(60)), 10)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_scan_and_search_match_brute_force_at_any_share_of_allowed_rows(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 300), label="size")
    # few distinct values, so that ties are common
    levels = st.integers(-2, 2)
    seed = data.draw(st.integers(0, 1000), label="seed")
    vectors = np.random.default_rng(seed).integers(-2, 3, size=(size, 3)).astype(np.float32)
    query = np.array(data.draw(st.lists(levels, min_size=3, max_size=3)), np.float32)
    k = data.draw(st.integers(1, 400), label="k")
    share = data.draw(st.sampled_from([0.0001, 0.01, 0.1, 0.5, 1.0]), label="share")
    allowed = set(np.flatnonzero(np.random.default_rng(seed + 1).random(size) < share).tolist())
    excluded = set(data.draw(st.lists(st.integers(0, size - 1), max_size=20), label="excluded"))
    index = index_of(vectors)
    scanned = index.scan(query, np.array(sorted(allowed), np.int64), k, np.array(sorted(excluded), np.int64))
    assert scanned.rows.tolist() == brute_force(vectors, query, allowed - excluded, k)
    (searched,) = index.search(query[None], [k], [np.array(list(excluded), np.int64)])
    assert searched.rows.tolist() == brute_force(vectors, query, set(range(size)) - excluded, k)


def test_one_allowed_row_of_ten_thousand_is_found() -> None:
    vectors = unit(10_000, 8, 8)
    hits = index_of(vectors).scan(vectors[0], np.array([9_876]), 10, NONE)
    assert hits.rows.tolist() == [9_876]
    np.testing.assert_allclose(hits.scores, [vectors[9_876] @ vectors[0]], atol=1e-6)


def test_an_index_and_vectors_of_different_sizes_are_corrupt() -> None:
    index = faiss.IndexFlatIP(3)
    with pytest.raises(CorruptArtifact, match="the index holds 0 x 3, the vectors are 2 x 3"):
        VectorIndex(index, unit(2, 3, 0))


@pytest.mark.parametrize("content", [b"", b"not an index", b"\x93NUMPY"])
def test_files_that_cannot_be_read_are_corrupt(tmp_path: Path, content: bytes) -> None:
    good_index, good_vectors, bad = tmp_path / "i.faiss", tmp_path / "v.npy", tmp_path / "bad"
    index = faiss.IndexFlatIP(3)
    index.add(unit(2, 3, 0))
    faiss.write_index(index, str(good_index))
    np.save(good_vectors, unit(2, 3, 0))
    bad.write_bytes(content)
    for files in ((bad, good_vectors), (good_index, bad)):
        with pytest.raises(CorruptArtifact):
            VectorIndex.load(*files)
    assert VectorIndex.load(good_index, good_vectors).size == 2


def test_vectors_of_objects_are_never_loaded(tmp_path: Path) -> None:
    index = faiss.IndexFlatIP(3)
    faiss.write_index(index, str(tmp_path / "i.faiss"))
    write_object_array(tmp_path / "v.npy")
    with pytest.raises(CorruptArtifact):
        VectorIndex.load(tmp_path / "i.faiss", tmp_path / "v.npy")
