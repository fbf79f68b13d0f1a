"""Searches by the fused score, against values worked out by hand and against its definition."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.fused import Parts, fused_scores
from tests.helpers.tuned_index import tuned
from tests.helpers.vectors import NONE, unit
from trainer.index.nearest_graph import write_nearest
from twotower.arrays import Float32, Int64, Mask
from twotower.artifact.manifest import Fusion, IndexSpec, IndexStep
from twotower.errors import CorruptArtifact, InvalidInput
from twotower.graphs.nearest_products import NearestProducts
from twotower.search.fused import FusedSearch
from twotower.search.fused_score import FusedScore
from twotower.search.neighbours import NeighbourTable
from twotower.search.ranking import Hits
from twotower.search.vector_index import VectorIndex

Make = Callable[[Float32], VectorIndex]
VECTORS = np.array([[1, 0], [0, 1], [0.6, 0.8], [-1, 0]], np.float32)
# 0 is followed by 1 (.5) and 3 (1), 3 by 2 (2)
FOLLOWING = np.array([[0, 0.5, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 2, 0]], np.float32)
PRIOR = np.array([0, 1, 0.25, 0.5], np.float32)
EAST = np.array([[1, 0]], np.float32)


class Perfect:
    """An approximate index that misses nothing."""

    def __init__(self, vectors: Float32) -> None:
        self.ntotal, self.d = vectors.shape
        self._vectors = vectors
        self.asked: list[int] = []

    def search(self, queries: Float32, k: int, params: object) -> tuple[Float32, Int64]:
        self.asked.append(k)
        scores = queries @ self._vectors.T
        rows = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(scores, rows, axis=1), rows


def flat(vectors: Float32) -> VectorIndex:
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    return VectorIndex(index, vectors)


def with_graph(folder: Path, vectors: Float32) -> VectorIndex:
    np.save(folder / "v.npy", vectors)
    write_nearest(folder / "v.npy", folder / "g.onnx")
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    return VectorIndex(index, vectors, nearest=NearestProducts(folder / "g.onnx", *vectors.shape, threads=1))


def approximate(vectors: Float32, deepest: int = 1600, exact_rows: int = 0) -> VectorIndex:
    step = IndexStep(depth=deepest, parameter=1, factor=1.0, recall=1.0, microseconds=1)
    spec = IndexSpec(kind="pq", factory="PQ2x4fs", steps=[step], exact_rows=exact_rows)
    return VectorIndex(Perfect(vectors), vectors, spec)


@pytest.fixture(params=["flat", "graph", "approximate", "shallow"])
def index_of(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Makes indexes: of FAISS alone, with a graph, and approximate ones, the last of which soon has to scan."""
    makes: dict[str, Make] = {
        "flat": flat,
        "graph": lambda vectors: with_graph(tmp_path, vectors),
        "approximate": approximate,
        "shallow": lambda vectors: approximate(vectors, deepest=3),
    }
    return makes[request.param]


def searcher(index: VectorIndex, parts: Parts) -> FusedSearch:
    return FusedSearch(index, FusedScore(parts.fusion, index.size, parts.table, parts.prior))


def check(hits: Hits, scores: Sequence[float], allowed: Sequence[int], k: int, atol: float = 0.0) -> None:
    """The best k of the allowed rows, ties in their order."""
    wanted = sorted(allowed, key=lambda row: (-scores[row], row))[:k]
    assert hits.rows.tolist() == wanted
    np.testing.assert_allclose(hits.scores, [scores[row] for row in wanted], rtol=0, atol=atol)


@pytest.mark.parametrize(
    ("fusion", "history", "wanted"),
    [
        (Fusion(), [0], {0: 1.0, 2: 0.6, 1: 0.0, 3: -1.0}),
        (Fusion(vector_weight=0.5), [0], {0: 0.5, 2: 0.3, 1: 0.0, 3: -0.5}),
        # .5 x (.5, 1) for what follows 0
        (Fusion(neighbour_weight=0.5), [0], {0: 1.0, 2: 0.6, 1: 0.25, 3: -0.5}),
        # and .25 x (.5, 1) if 0 is one step further back, with 2 x .5 for what follows 3
        (Fusion(neighbour_weight=0.5), [3, 0], {2: 1.6, 0: 1.0, 1: 0.125, 3: -0.75}),
        (Fusion(neighbour_weight=0.5, steps=1), [3, 0], {2: 1.6, 0: 1.0, 1: 0.0, 3: -1.0}),
        (Fusion(own_weight=0.5, own_decay=0.5), [3, 0, 3], {0: 1.25, 2: 0.6, 1: 0.0, 3: -0.375}),
        (Fusion(own_weight=0.5, own_steps=2), [3, 0, 0], {0: 1.5, 2: 0.6, 1: 0.0, 3: -0.5}),
        (Fusion(prior_weight=0.5), [0], {0: 1.0, 2: 0.725, 1: 0.5, 3: -0.75}),
        (Fusion(neighbour_weight=4, prior_weight=2), [0], {1: 4.0, 3: 4.0, 2: 1.1, 0: 1.0}),
        # without vectors: neighbours, then the order of the rows
        (Fusion(vector_weight=0, neighbour_weight=1), [0], {3: 1.0, 1: 0.5, 0: 0.0, 2: 0.0}),
        (Fusion(vector_weight=0, prior_weight=1), [0], {1: 1.0, 3: 0.5, 2: 0.25, 0: 0.0}),
        (Fusion(vector_weight=0, neighbour_weight=1, prior_weight=1), [3], {2: 2.25, 1: 1.0, 3: 0.5, 0: 0.0}),
        (Fusion(vector_weight=0, neighbour_weight=1), [1], {0: 0.0, 1: 0.0, 2: 0.0, 3: 0.0}),
        (Fusion(neighbour_weight=1, prior_weight=1), [], {1: 1.0, 0: 1.0, 2: 0.85, 3: -0.5}),
    ],
)
def test_scores_worked_out_by_hand(
    index_of: Make, fusion: Fusion, history: list[int], wanted: dict[int, float]
) -> None:
    search = searcher(index_of(VECTORS), Parts(fusion, FOLLOWING, PRIOR))
    wanted = dict(sorted(wanted.items(), key=lambda pair: (-pair[1], pair[0])))
    for k in (1, 2, 3, 4, 9):
        (hits,) = search.search(EAST, [history], [k], [NONE])
        assert hits.rows.tolist() == list(wanted)[:k]
        np.testing.assert_allclose(hits.scores, list(wanted.values())[:k], atol=1e-6)


@pytest.mark.parametrize(
    ("fusion", "neighbours", "prior", "problem"),
    [
        (Fusion(neighbour_weight=1), False, PRIOR, r"no neighbours are there, their weight is 1\.0"),
        (Fusion(prior_weight=0.5), True, None, r"no prior is there, its weight is 0\.5"),
        (Fusion(prior_weight=1), True, PRIOR[:3], r"the prior is float32 \[3\], wanted float32 \[4\]"),
        (Fusion(prior_weight=1), True, PRIOR.astype(np.float64), r"the prior is float64 \[4\]"),
        (Fusion(prior_weight=1), True, PRIOR * 2, r"the prior of row 1 is 2\.0, it must be from 0 to 1"),
        (Fusion(prior_weight=1), True, np.float32([0, 0, np.nan, 1]), "the prior of row 2 is nan"),
    ],
)
def test_parts_that_are_missing_or_do_not_fit_are_refused(
    fusion: Fusion, neighbours: bool, prior: Float32 | None, problem: str
) -> None:
    table = Parts(fusion, FOLLOWING, PRIOR).table
    with pytest.raises(CorruptArtifact, match=problem):
        FusedScore(fusion, 4, table if neighbours else None, prior)
    # a part without weight is not looked at
    FusedScore(Fusion(), 4, table if neighbours else None, prior)


def test_sizes_that_differ_are_refused() -> None:
    with pytest.raises(CorruptArtifact, match="neighbour_offsets holds 5 numbers for 3 products"):
        FusedScore(Fusion(neighbour_weight=1), 3, Parts(Fusion(), FOLLOWING, PRIOR).table, None)
    with pytest.raises(CorruptArtifact, match="the index holds 4 products, the fused score 3"):
        FusedSearch(flat(VECTORS), FusedScore(Fusion(), 3, None, None))


def test_a_query_of_another_dimension_names_both_numbers(index_of: Make) -> None:
    search = searcher(index_of(VECTORS), Parts(Fusion(prior_weight=1), FOLLOWING, PRIOR))
    with pytest.raises(InvalidInput, match=r"dimension 3: the index has 2 dimensions"):
        search.search(np.zeros((1, 3), np.float32), [[0]], [1], [NONE])


def test_excluded_rows_are_in_no_answer_however_few_are_left(index_of: Make) -> None:
    search = searcher(index_of(VECTORS), Parts(Fusion(neighbour_weight=1), FOLLOWING, None))
    # the scores are 1, .5, .6 and 0
    excluded = [NONE, np.array([0]), np.array([3, 0, 2, 0]), np.arange(4)]
    found = search.search(EAST.repeat(4, axis=0), [[0]] * 4, [2] * 4, excluded)
    assert [hits.rows.tolist() for hits in found] == [[0, 2], [2, 1], [1], []]
    assert found[2].scores.tolist() == [0.5]
    for wanted, one in zip(found, excluded, strict=True):
        (alone,) = search.search(EAST, [[0]], [2], [one])
        assert alone.rows.tolist() == wanted.rows.tolist()


def random_parts(draw: np.random.Generator, size: int, fusion: Fusion) -> tuple[Parts, Float32]:
    """Parts and vectors of whole numbers and eighths: every sum is exact, so that equals are equal in any order."""
    following = draw.integers(1, 9, size=(size, size)) / 8 * (draw.random((size, size)) < 0.2)
    prior = draw.integers(0, 9, size) / 8
    vectors = draw.integers(-2, 3, size=(size, 4))
    return Parts(fusion, following.astype(np.float32), prior.astype(np.float32)), vectors.astype(np.float32)


@settings(max_examples=300, deadline=None)
@given(
    seed=st.integers(0, 100_000),
    kind=st.sampled_from(["flat", "approximate", "shallow", "filtered"]),
    size=st.integers(1, 60),
    weights=st.tuples(
        st.sampled_from([0.0, 0.25, 1.0]),
        st.sampled_from([0.0, 0.5, 2.0]),
        st.sampled_from([0, 1.0]),
        st.sampled_from([0.0, 0.0, 0.5]),
    ),
    steps=st.integers(1, 4),
    ks=st.lists(st.integers(1, 70), min_size=1, max_size=4),
    share=st.sampled_from([0.2, 0.7, 1.0]),
)
def test_any_search_gives_what_the_definition_gives(
    seed: int,
    kind: str,
    size: int,
    weights: tuple[float, float, float, float],
    steps: int,
    ks: list[int],
    share: float,
) -> None:
    draw = np.random.default_rng(seed)
    fusion = Fusion(
        vector_weight=weights[0],
        neighbour_weight=weights[1],
        prior_weight=weights[2],
        steps=steps,
        decay=0.5,
        own_weight=weights[3],
        own_steps=3,
        own_decay=0.5,
    )
    parts, vectors = random_parts(draw, size, fusion)
    index = {
        "flat": flat(vectors),
        "approximate": approximate(vectors),
        "shallow": approximate(vectors, deepest=6),
        "filtered": approximate(vectors, exact_rows=20),
    }[kind]
    queries = draw.integers(-3, 4, size=(len(ks), 4)).astype(np.float32)
    histories = [draw.integers(0, size, draw.integers(0, 7)).tolist() for _ in ks]
    excluded = [draw.integers(0, size, draw.integers(0, 12)) for _ in ks]
    allowed: Mask | None = None if share == 1 else draw.random(size) < share
    found = searcher(index, parts).search(queries, histories, ks, excluded, allowed)
    for place, hits in enumerate(found):
        scores = fused_scores(parts, vectors, queries[place], histories[place])
        rows = set(range(size) if allowed is None else np.flatnonzero(allowed)) - set(excluded[place].tolist())
        check(hits, scores.tolist(), sorted(rows), ks[place])


@pytest.mark.parametrize("fusion", [Fusion(neighbour_weight=0.3), Fusion(neighbour_weight=0.3, prior_weight=0.1)])
def test_a_query_gets_the_same_answer_alone_and_in_any_batch(index_of: Make, fusion: Fusion) -> None:
    draw = np.random.default_rng(0)
    vectors, queries = unit(700, 96, 4), unit(90, 96, 5)
    following = (draw.random((700, 700)) * (draw.random((700, 700)) < 0.05)).astype(np.float32)
    search = searcher(index_of(vectors), Parts(fusion, following, draw.random(700, np.float32)))
    histories = [draw.integers(0, 700, draw.integers(0, 15)) for _ in queries]
    excluded = [np.unique(history) if row % 2 else NONE for row, history in enumerate(histories)]
    ks = [30 if row % 3 else 50 for row in range(90)]
    for row, hits in enumerate(search.search(queries, histories, ks, excluded)):
        (alone,) = search.search(queries[[row]], [histories[row]], [ks[row]], [excluded[row]])
        np.testing.assert_array_equal(alone.rows, hits.rows)
        np.testing.assert_array_equal(alone.scores, hits.scores)


@pytest.mark.parametrize(
    ("fusion", "k", "asked"),
    [
        # each list to k, or to 2 k, 8 k and so on with a prior; FAISS is asked for eight more
        (Fusion(neighbour_weight=1), 5, [5 + 8]),
        (Fusion(neighbour_weight=1, prior_weight=0.01), 5, [10 + 8]),
        # the best by prior are far from the query
        (Fusion(prior_weight=1), 5, [10 + 8, 40 + 8, 100 + 8]),
        (Fusion(prior_weight=1), 70, [100 + 8]),
        (Fusion(prior_weight=1), 101, []),
        (Fusion(vector_weight=0, neighbour_weight=1, prior_weight=1), 5, []),
    ],
)
def test_lists_are_read_as_deep_as_the_prior_needs(fusion: Fusion, k: int, asked: list[int]) -> None:
    vectors = unit(1000, 4, 9)
    inner = Perfect(vectors)
    steps = [IndexStep(depth=d, parameter=1, factor=1.0, recall=1.0, microseconds=1) for d in (5, 10, 40, 100)]
    index = VectorIndex(inner, vectors, IndexSpec(kind="pq", factory="PQ2x4fs", steps=steps))
    # the further, the more popular
    prior = ((1 - vectors @ vectors[0]) / 2).clip(0, 1).astype(np.float32)
    parts = Parts(fusion, np.zeros((1000, 1000), np.float32), prior)
    (hits,) = searcher(index, parts).search(vectors[:1], [[0]], [k], [NONE])
    assert inner.asked == asked
    check(hits, fused_scores(parts, vectors, vectors[0], [0]).tolist(), range(1000), k, atol=1e-6)


@pytest.mark.parametrize("prior_weight", [0, 0.05, 0.5])
@pytest.mark.parametrize("share", [0.05, 0.5, 1.0])
def test_answers_of_a_tuned_index_against_brute_force(prior_weight: float, share: float) -> None:
    index, draw = tuned(), np.random.default_rng(1)
    size, hits, wanted = index.size, 0, 0
    products, rows = draw.integers(0, size, 200_000), draw.integers(0, size, 200_000)
    pairs = np.unique(products * size + rows)
    scores = draw.random(len(pairs), np.float32)
    table = NeighbourTable(np.searchsorted(pairs // size, np.arange(size + 1)), (pairs % size).astype(np.int32), scores)
    prior = np.sqrt(1 / (1 + draw.permutation(size))).astype(np.float32)
    score = FusedScore(Fusion(neighbour_weight=0.5, prior_weight=prior_weight), size, table, prior)
    queries = index.vectors[draw.integers(0, size, 60)] + draw.normal(scale=0.2, size=(60, 16)).astype(np.float32)
    histories, ks = draw.integers(0, size, (60, 12)), [1, 10, 100] * 20
    allowed = None if share == 1 else draw.random(size) < share
    excluded = [np.unique(history) for history in histories]
    found = FusedSearch(index, score).search(queries, list(histories), ks, excluded, allowed)
    everything = queries @ index.vectors.T + score.added(list(histories))  # [60, N]
    for place, one in enumerate(found):
        everything[place, excluded[place]] = -np.inf
        if allowed is not None:
            everything[place, ~allowed] = -np.inf
        best = np.argsort(-everything[place], kind="stable")[: ks[place]]
        np.testing.assert_allclose(one.scores, everything[place, one.rows], atol=1e-5)
        assert (np.diff(one.scores) <= 0).all() and len(one.rows) == ks[place]
        hits += len(np.intersect1d(one.rows, best))
        wanted += ks[place]
    assert hits >= 0.97 * wanted
