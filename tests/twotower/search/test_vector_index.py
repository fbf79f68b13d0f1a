"""Exact top-K with excluded and allowed rows, against numpy."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.helpers.tiny_version import write_object_array
from trainer.config.schema import Index
from trainer.index.build import build, item_queries
from trainer.index.nearest_graph import write_nearest
from twotower.arrays import Float32
from twotower.artifact.manifest import IndexSpec, IndexStep
from twotower.errors import CorruptArtifact, InvalidInput
from twotower.graphs.nearest_products import NearestProducts
from twotower.search import vector_index as search
from twotower.search.vector_index import VectorIndex

NONE = np.empty(0, np.int64)


Make = Callable[[Float32], VectorIndex]


def flat(vectors: Float32, nearest: NearestProducts | None = None) -> VectorIndex:
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    return VectorIndex(index, vectors, nearest=nearest)


@pytest.fixture(params=["faiss", "graph"])
def index_of(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Makes flat indexes that FAISS searches alone, or that a graph searches where there are a few queries."""

    return flat if request.param == "faiss" else lambda vectors: flat(vectors, graph_of(tmp_path, vectors))


def graph_of(folder: Path, vectors: Float32) -> NearestProducts:
    np.save(folder / "v.npy", vectors)
    write_nearest(folder / "v.npy", folder / "g.onnx")
    return NearestProducts(folder / "g.onnx", *vectors.shape, threads=1)


def unit(size: int, dimension: int, seed: int) -> Float32:
    vectors = np.random.default_rng(seed).normal(size=(size, dimension)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def brute_force(vectors: Float32, query: Float32, allowed: set[int], k: int) -> list[int]:
    scores = [(-float((vectors[row] * query).sum()), row) for row in allowed]
    return [row for _, row in sorted(scores)[:k]]


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
        scanned = index.scan(query, np.arange(3000), 50, NONE)
        for other in (alone, scanned):
            np.testing.assert_array_equal(other.rows, hits.rows)
            np.testing.assert_array_equal(other.scores, hits.scores)


def test_many_queries_are_left_to_faiss_and_get_the_same_answers(
    index_of: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors, queries = unit(300, 16, 7), unit(9, 16, 8)
    index = index_of(vectors)
    together = index.search(queries, [5] * 9, [NONE] * 9)
    monkeypatch.setattr(search, "_TOGETHER", 8)
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
    monkeypatch.setattr(search, "_MAX_FETCH", 20)
    vectors = unit(60, 4, 6)
    excluded = np.arange(30)
    (hits,) = index_of(vectors).search(vectors[:1], [5], [excluded])
    assert hits.rows.tolist() == brute_force(vectors, vectors[0], set(range(30, 60)), 5)


class Lossy:
    """As an index of lists that probes too few of them: it knows some rows alone, and ranks those by their number."""

    def __init__(self, vectors: Float32, known: NDArray[np.int64]) -> None:
        self.ntotal, self.d = vectors.shape
        self.known = known
        self.asked: list[int] = []

    def search(self, queries: Float32, k: int, params: object) -> tuple[Float32, NDArray[np.int64]]:
        self.asked.append(k)
        rows = np.full(k, -1, np.int64)
        found = self.known[:k]
        rows[: len(found)] = found
        return np.zeros((len(queries), k), np.float32), np.tile(rows, (len(queries), 1))


def step(depth: int, factor: float = 1.0, parameter: int = 1) -> IndexStep:
    return IndexStep(depth=depth, parameter=parameter, factor=factor, recall=0.99, microseconds=1)


def approximate(*steps: IndexStep, exact_rows: int = 0) -> IndexSpec:
    return IndexSpec(kind="pq", factory="PQ2x4fs", steps=list(steps), exact_rows=exact_rows)


def test_an_index_that_finds_too_few_is_made_up_for_by_a_scan() -> None:
    vectors = unit(60, 4, 7)
    index = VectorIndex(Lossy(vectors, np.arange(9)), vectors, approximate(step(60)))
    (hits,) = index.search(vectors[:1], [10], [NONE])
    assert hits.rows.tolist() == brute_force(vectors, vectors[0], set(range(60)), 10)


def test_what_an_approximate_index_finds_is_ranked_by_exact_inner_products() -> None:
    vectors = unit(60, 4, 7)
    index = VectorIndex(Lossy(vectors, np.arange(20, 40)), vectors, approximate(step(60)))
    (hits,) = index.search(vectors[:1], [10], [np.array([25])])
    assert hits.rows.tolist() == brute_force(vectors, vectors[0], set(range(20, 40)) - {25}, 10)
    np.testing.assert_allclose(hits.scores, vectors[hits.rows] @ vectors[0], atol=1e-6)


@pytest.mark.parametrize(
    ("k", "excluded", "share", "asked"),
    [
        (5, 0, 1.0, [2 * 10 + 8]),  # the first step is deep enough: factor 2 and eight to spare
        (10, 0, 1.0, [2 * 10 + 8]),
        (11, 0, 1.0, [3 * 40 + 8]),
        (10, 1, 1.0, [3 * 40 + 8]),  # ten and an excluded one
        (10, 31, 1.0, []),  # no step is so deep: an exact scan
        (5, 0, 0.5, [3 * 40 + 8]),  # 5 among half of the rows lie among the first 13: 5 x 2 x 1.3
        (10, 0, 0.2, []),  # 10 x 5 x 1.3 are more than 40
    ],
)
def test_a_search_goes_as_deep_as_exclusions_and_filters_need(
    k: int, excluded: int, share: float, asked: list[int]
) -> None:
    vectors = unit(1000, 4, 9)
    inner = Lossy(vectors, np.arange(1000))
    index = VectorIndex(inner, vectors, approximate(step(10, 2.0), step(40, 3.0)))
    allowed = None if share == 1 else np.arange(1000) % round(1 / share) == 0
    (hits,) = index.search(vectors[:1], [k], [np.arange(excluded)], allowed)
    assert inner.asked == asked
    assert len(hits.rows) == k
    assert allowed is None or allowed[hits.rows].all()


def test_few_allowed_rows_are_scanned_alone() -> None:
    vectors = unit(1000, 4, 9)
    inner = Lossy(vectors, np.arange(1000))
    index = VectorIndex(inner, vectors, approximate(step(1000), exact_rows=500))
    even, third = np.arange(1000) % 2 == 0, np.arange(1000) % 3 > 0
    (hits,) = index.search(vectors[:1], [7], [NONE], even)
    assert hits.rows.tolist() == brute_force(vectors, vectors[0], set(range(0, 1000, 2)), 7)
    assert inner.asked == []
    index.search(vectors[:1], [7], [NONE], third)
    assert inner.asked == [1000]


@lru_cache(maxsize=2)
def tuned(kind: Literal["ivf", "hnsw"] = "ivf") -> VectorIndex:
    """20,000 products in lists of codes or in a graph, tuned by the trainer to .98."""
    draw = np.random.default_rng(5)
    vectors = draw.normal(size=(20_000, 16)) + draw.normal(size=(100, 16))[draw.integers(0, 100, 20_000)]
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    config = Index(kind=kind, target_recall=0.98)
    made = build(vectors, item_queries(vectors, 3, 100), config, 7, 1)
    return VectorIndex(made.index, vectors, made.spec)


@pytest.mark.parametrize("share", [0.0001, 0.01, 0.1, 0.5, 1.0])
def test_filtered_answers_of_a_tuned_index_against_brute_force(share: float) -> None:
    index, hits, wanted = tuned(), 0, 0
    exact_rows = index.spec.exact_rows

    @settings(max_examples=25, deadline=None, derandomize=True)
    @given(seed=st.integers(0, 10_000), k=st.sampled_from([1, 10, 100, 1000]), clustered=st.booleans())
    def check(seed: int, k: int, clustered: bool) -> None:
        nonlocal hits, wanted
        draw = np.random.default_rng(seed)
        query = index.vectors[draw.integers(index.size)] + draw.normal(scale=0.2, size=16).astype(np.float32)
        # a category lies together, a stock state anywhere
        closeness = index.vectors @ unit(1, 16, seed + 1)[0] if clustered else draw.random(index.size)
        allowed = closeness >= np.sort(closeness)[-max(1, round(share * index.size))]
        excluded = draw.choice(index.size, 20, replace=False)
        (found,) = index.search(query[None], [k], [excluded], allowed)
        rest = np.setdiff1d(np.flatnonzero(allowed), excluded)
        best = rest[np.argsort(-(index.vectors[rest] @ query), kind="stable")][:k]
        assert len(found.rows) == len(best)
        assert np.isin(found.rows, rest).all()
        assert (np.diff(found.scores) <= 0).all()
        if np.count_nonzero(allowed) <= exact_rows:
            np.testing.assert_array_equal(found.rows, best)
        hits += len(np.intersect1d(found.rows, best))
        wanted += len(best)

    check()
    assert hits >= 0.97 * wanted


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


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_a_query_of_an_approximate_index_gets_the_same_answer_alone_and_in_any_batch(
    kind: Literal["ivf", "hnsw"],
) -> None:
    index = tuned(kind)
    queries = index.vectors[:40] + 0.1
    ks = [50 if row % 3 else 120 for row in range(40)]
    excluded = [np.arange(row, 3 * row, 2) if row % 2 else NONE for row in range(40)]
    for row, hits in enumerate(index.search(queries, ks, excluded)):
        (alone,) = index.search(queries[row][None], [ks[row]], [excluded[row]])
        np.testing.assert_array_equal(alone.rows, hits.rows)
        np.testing.assert_array_equal(alone.scores, hits.scores)


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
    scanned = index.scan(query, np.array(sorted(allowed), np.int64), k, np.array(sorted(excluded), np.int64))
    assert scanned.rows.tolist() == brute_force(vectors, query, allowed - excluded, k)
    asked = query[None], [k], [np.array(list(excluded), np.int64)]
    wanted = brute_force(vectors, query, set(range(size)) - excluded, k)
    assert [hits.rows.tolist() for hits in index.search(*asked)] == [wanted]
    with TemporaryDirectory() as folder:
        together = flat(vectors, graph_of(Path(folder), vectors))
    twice = together.search(query[None].repeat(2, axis=0), [k] * 2, asked[2] * 2)
    assert [hits.rows.tolist() for hits in twice] == [wanted] * 2


def test_one_allowed_row_of_ten_thousand_is_found(index_of: Make) -> None:
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


@pytest.mark.parametrize("dimension", [7, 33, 128, 384, 1000])
def test_without_blas_faiss_sums_a_product_as_the_index_does(index_of: Make, dimension: int) -> None:
    """Why few queries need not be scored a second time."""
    index = index_of(unit(2000, dimension, 1))
    for queries in range(1, -(-search._BLAS_FROM // dimension)):
        asked = unit(queries, dimension, queries)
        found, rows = faiss.knn(asked, index.vectors, 100, faiss.METRIC_INNER_PRODUCT)
        np.testing.assert_array_equal(found, index.scores(asked, rows))
