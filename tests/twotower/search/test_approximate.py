"""Searches of approximate indexes, against brute force."""

from __future__ import annotations

from typing import Literal

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.tuned_index import tuned
from tests.helpers.vectors import NONE, brute_force, unit
from twotower.arrays import Float32, Int64
from twotower.artifact.manifest import IndexSpec, IndexStep
from twotower.search.exact import ExactSearch
from twotower.search.vector_index import VectorIndex
from twotower.sharding import Rows


class Lossy:
    """As an index of lists that probes too few of them: it knows some rows alone, and ranks those by their number."""

    def __init__(self, vectors: Float32, known: Int64) -> None:
        self.ntotal, self.d = vectors.shape
        self.known = known
        self.asked: list[int] = []

    def search(self, queries: Float32, k: int, params: object) -> tuple[Float32, Int64]:
        self.asked.append(k)
        rows = np.full(k, -1, np.int64)
        found = self.known[:k]
        rows[: len(found)] = found
        return np.zeros((len(queries), k), np.float32), np.tile(rows, (len(queries), 1))


def step(depth: int, factor: float = 1.0, parameter: int = 1) -> IndexStep:
    return IndexStep(depth=depth, parameter=parameter, factor=factor, recall=0.99, microseconds=1)


def approximate(*steps: IndexStep, exact_rows: int = 0) -> IndexSpec:
    return IndexSpec(kind="pq", factory="PQ2x4fs", steps=list(steps), exact_rows=exact_rows)


def test_a_scan_answers_if_an_index_finds_too_few() -> None:
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


def test_a_shard_reads_more_of_its_short_lists_instead_of_all_its_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = unit(3200, 8, 9)
    index = faiss.index_factory(8, "IVF64,Flat", faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    # 12.5 rows a list: 20 rows lie in two lists on average, and four are read
    index.add(vectors[800:1600])
    spec = IndexSpec(kind="ivf", factory="IVF64,Flat", knob="nprobe", steps=[step(20)])
    shard = VectorIndex(index, vectors, spec, part=Rows(800, 1600))

    def scan(*_: object) -> None:
        raise AssertionError("the shard was scanned")

    monkeypatch.setattr(ExactSearch, "scan", scan)
    for query in vectors[::100]:
        (hits,) = shard.search(query[None], [20], [NONE])
        _, lists = index.quantizer.search(query[None], 4)
        within = {
            800 + row
            for one in lists[0]
            for row in faiss.rev_swig_ptr(index.invlists.get_ids(int(one)), index.invlists.list_size(int(one))).tolist()
        }
        assert hits.rows.tolist() == brute_force(vectors, query, within, 20)
