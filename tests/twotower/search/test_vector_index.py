"""Exact top-K with excluded and allowed rows, against numpy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.tiny_version import write_object_array
from tests.helpers.vectors import NONE, brute_force, unit
from trainer.index.nearest_graph import write_nearest
from twotower.arrays import Float32
from twotower.errors import CorruptArtifact, InvalidInput
from twotower.graphs.nearest_products import NearestProducts
from twotower.search import exact
from twotower.search.exact import ExactSearch
from twotower.search.vector_index import VectorIndex

Make = Callable[[Float32], VectorIndex]


def flat(vectors: Float32, nearest: NearestProducts | None = None) -> VectorIndex:
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    return VectorIndex(index, vectors, nearest=nearest)


@pytest.fixture(params=["faiss", "graph"])
def index_of(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Makes flat indexes that FAISS searches alone, or that a graph searches for a few queries together."""

    return flat if request.param == "faiss" else lambda vectors: flat(vectors, graph_of(tmp_path, vectors))


def graph_of(folder: Path, vectors: Float32) -> NearestProducts:
    np.save(folder / "v.npy", vectors)
    write_nearest(folder / "v.npy", folder / "g.onnx")
    return NearestProducts(folder / "g.onnx", *vectors.shape, threads=1)


def test_search_matches_inner_products_worked_out_by_hand(index_of: Make) -> None:
    index = index_of(np.array([[1, 0], [0, 1], [0.6, 0.8], [-1, 0]], np.float32))
    (hits,) = index.search(np.array([[1, 0]], np.float32), [3], [NONE])
    assert hits.rows.tolist() == [0, 2, 1]
    np.testing.assert_allclose(hits.scores, [1.0, 0.6, 0.0])


def test_an_excluded_row_is_left_out_and_the_next_one_takes_its_place(index_of: Make) -> None:
    index = index_of(np.array([[1, 0], [0, 1], [0.6, 0.8], [-1, 0]], np.float32))
    (hits,) = index.search(np.array([[1, 0]], np.float32), [2], [np.array([0, 0])])
    assert hits.rows.tolist() == [2, 1]


def test_each_query_has_its_own_k_and_its_own_excluded_rows(index_of: Make) -> None:
    vectors = unit(50, 4, 0)
    excluded = [np.array([3, 5]), NONE, np.arange(50)]
    found = index_of(vectors).search(vectors[[3, 4, 5]], [10, 1, 5], excluded)
    for place, query in enumerate(vectors[[3, 4, 5]]):
        allowed = set(range(50)) - set(excluded[place].tolist())
        assert found[place].rows.tolist() == brute_force(vectors, query, allowed, [10, 1, 5][place])
    assert found[2].rows.tolist() == []


def test_k_beyond_the_corpus_gives_every_allowed_row(index_of: Make) -> None:
    vectors = unit(7, 3, 1)
    (hits,) = index_of(vectors).search(vectors[:1], [1000], [np.array([6])])
    assert sorted(hits.rows.tolist()) == [0, 1, 2, 3, 4, 5]
    assert hits.rows[0] == 0


def test_no_queries_have_no_answers(index_of: Make) -> None:
    assert index_of(unit(3, 3, 0)).search(np.empty((0, 3), np.float32), [], []) == []


def test_a_query_of_another_dimension_names_both_numbers(index_of: Make) -> None:
    with pytest.raises(InvalidInput, match=r"dimension 4: the index has 3 dimensions"):
        index_of(unit(3, 3, 0)).search(np.zeros((1, 4), np.float32), [1], [NONE])


@pytest.mark.parametrize("duplicates", [3, 60])
def test_equal_scores_come_in_the_order_of_the_rows(index_of: Make, duplicates: int) -> None:
    # more copies than FAISS is asked for: which of them it returns is up to it
    vectors = np.repeat(unit(5, 24, 2), duplicates, axis=0)
    order = np.random.default_rng(0).permutation(len(vectors))
    vectors = np.ascontiguousarray(vectors[order])
    queries = unit(30, 24, 3)
    found = index_of(vectors).search(queries, [7] * 30, [NONE] * 30)
    for query, hits in zip(queries, found, strict=True):
        assert hits.rows.tolist() == brute_force(vectors, query, set(range(len(vectors))), 7)


def test_a_vector_of_zeros_ties_with_everything(index_of: Make) -> None:
    (hits,) = index_of(unit(100, 3, 0)).search(np.zeros((1, 3), np.float32), [4], [np.array([1])])
    assert hits.rows.tolist() == [0, 2, 3, 4]
    assert hits.scores.tolist() == [0.0] * 4


def test_a_query_gets_the_same_answer_alone_and_in_any_batch(index_of: Make) -> None:
    vectors, queries = unit(3000, 384, 4), unit(40, 384, 5)
    index = index_of(vectors)
    together = index.search(queries, [50] * 40, [NONE] * 40)
    for query, hits in zip(queries, together, strict=True):
        (alone,) = index.search(query[None], [50], [NONE])
        scanned = ExactSearch(vectors).scan(query, np.arange(3000), 50, NONE)
        for other in (alone, scanned):
            np.testing.assert_array_equal(other.rows, hits.rows)
            np.testing.assert_array_equal(other.scores, hits.scores)


def test_many_queries_are_left_to_faiss_and_get_the_same_answers(
    index_of: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors, queries = unit(300, 16, 7), unit(9, 16, 8)
    index = index_of(vectors)
    together = index.search(queries, [5] * 9, [NONE] * 9)
    monkeypatch.setattr(exact, "_TOGETHER", 8)
    monkeypatch.setattr(NearestProducts, "search", None)
    for one, other in zip(together, index.search(queries, [5] * 9, [NONE] * 9), strict=True):
        np.testing.assert_array_equal(one.rows, other.rows)
        np.testing.assert_array_equal(one.scores, other.scores)


def test_the_graph_ranks_as_inner_products_worked_out_by_hand(tmp_path: Path) -> None:
    graph = graph_of(tmp_path, np.array([[1, 0], [0, 1], [0.6, 0.8], [-1, 0]], np.float32))
    scores, rows = graph.search(np.array([[1, 0], [0, 2]], np.float32), 3)
    assert rows.tolist() == [[0, 2, 1], [1, 2, 0]]
    np.testing.assert_allclose(scores, [[1.0, 0.6, 0.0], [2.0, 1.6, 0.0]])
    assert rows.dtype.char == np.dtype(np.int64).char


@pytest.mark.parametrize("shape", [(4, 2), (6, 2), (5, 3)])
def test_a_graph_of_other_products_is_corrupt(tmp_path: Path, shape: tuple[int, int]) -> None:
    vectors = unit(5, 2, 0)
    index = faiss.IndexFlatIP(2)
    index.add(vectors)
    faiss.write_index(index, str(tmp_path / "i.faiss"))
    graph_of(tmp_path, unit(*shape, 0))
    (tmp_path / "v.npy").rename(tmp_path / "other.npy")
    np.save(tmp_path / "e.npy", vectors)
    with pytest.raises(CorruptArtifact, match=r"g\.onnx"):
        VectorIndex.load(tmp_path / "i.faiss", tmp_path / "e.npy", nearest=tmp_path / "g.onnx")
    (tmp_path / "other.npy").rename(tmp_path / "v.npy")
    with pytest.raises(CorruptArtifact, match=rf"g\.onnx is of {shape[0]} x {shape[1]} vectors, wanted 5 x 2"):
        VectorIndex.load(tmp_path / "i.faiss", tmp_path / "e.npy", nearest=tmp_path / "g.onnx")


def test_more_rows_than_faiss_is_asked_for_are_scanned(index_of: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact, "_MAX_FETCH", 20)
    vectors = unit(60, 4, 6)
    excluded = np.arange(30)
    (hits,) = index_of(vectors).search(vectors[:1], [5], [excluded])
    assert hits.rows.tolist() == brute_force(vectors, vectors[0], set(range(30, 60)), 5)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_search_has_the_threads_that_it_is_given(threads: int) -> None:
    vectors = unit(10, 4, 0)
    index = faiss.IndexFlatIP(4)
    index.add(vectors)
    faiss.omp_set_num_threads(3)
    VectorIndex(index, vectors, threads=threads).search(vectors[:1], [1], [NONE])
    assert faiss.omp_get_max_threads() == threads


def test_vectors_that_are_not_float32_rows_are_corrupt() -> None:
    index = faiss.IndexFlatIP(4)
    index.add(unit(4, 4, 0))
    for wrong in (unit(4, 4, 0).astype(np.float64), np.asfortranarray(unit(4, 4, 0))):
        with pytest.raises(CorruptArtifact, match="wanted float32, row by row"):
            VectorIndex(index, wrong)


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
    index = flat(vectors)
    scanned = ExactSearch(vectors).scan(
        query, np.array(sorted(allowed), np.int64), k, np.array(sorted(excluded), np.int64)
    )
    assert scanned.rows.tolist() == brute_force(vectors, query, allowed - excluded, k)
    asked = query[None], [k], [np.array(list(excluded), np.int64)]
    wanted = brute_force(vectors, query, set(range(size)) - excluded, k)
    assert [hits.rows.tolist() for hits in index.search(*asked)] == [wanted]
    with TemporaryDirectory() as folder:
        together = flat(vectors, graph_of(Path(folder), vectors))
    twice = together.search(query[None].repeat(2, axis=0), [k] * 2, asked[2] * 2)
    assert [hits.rows.tolist() for hits in twice] == [wanted] * 2


def test_one_allowed_row_of_ten_thousand_is_found() -> None:
    vectors = unit(10_000, 8, 8)
    hits = ExactSearch(vectors).scan(vectors[0], np.array([9_876]), 10, NONE)
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


@pytest.mark.parametrize("dimension", [7, 33, 128, 384, 1000])
def test_without_blas_faiss_sums_a_product_as_the_index_does(index_of: Make, dimension: int) -> None:
    """Why few queries need not be scored a second time."""
    index = index_of(unit(2000, dimension, 1))
    for queries in range(1, -(-exact._BLAS_FROM // dimension)):
        asked = unit(queries, dimension, queries)
        found, rows = faiss.knn(asked, index.vectors, 100, faiss.METRIC_INNER_PRODUCT)
        np.testing.assert_array_equal(found, index.scores(asked, rows))
