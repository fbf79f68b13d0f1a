"""Lists by maximal marginal relevance, against values worked out by hand and against the definition."""

from __future__ import annotations

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.marginal_relevance import rank_by_marginal_relevance
from twotower.arrays import Float32
from twotower.errors import InvalidInput
from twotower.search.diversity import candidates, check_diversity, diversify
from twotower.search.ranking import Hits
from twotower.search.vector_index import VectorIndex


def flat(vectors: Float32) -> VectorIndex:
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    return VectorIndex(index, vectors)


# products 0 and 1 are the same, 2 is at a right angle to them
VECTORS = np.array([[1, 0], [1, 0], [0, 1], [-1, 0]], np.float32)
INDEX = flat(VECTORS)
HITS = Hits(np.arange(3), np.array([0.9, 0.85, 0.5], np.float32))


@pytest.mark.parametrize(
    ("diversity", "wanted"),
    [
        (0, [0, 1, 2]),
        # (1 - d) .85 - d against (1 - d) .5: the twin leads below d = .35 / 1.35 = .2593
        (0.25, [0, 1, 2]),
        (0.27, [0, 2, 1]),
        (1, [0, 2, 1]),
    ],
)
def test_a_twin_gives_way(diversity: float, wanted: list[int]) -> None:
    found = diversify(HITS, INDEX, 3, diversity)
    assert found.rows.tolist() == wanted
    np.testing.assert_array_equal(found.scores, HITS.scores[wanted])


@pytest.mark.parametrize(("diversity", "wanted"), [(0.27, [0, 1, 2]), (0.29, [0, 2, 1])])
def test_scores_above_one_are_compared_as_shares_of_the_best(diversity: float, wanted: list[int]) -> None:
    hits = HITS._replace(scores=HITS.scores * 4)
    # (1 - d) .85 / .9 - d against (1 - d) .5 / .9: the twin leads below d = .35 / 1.25 = .28
    found = diversify(hits, INDEX, 3, diversity)
    assert found.rows.tolist() == wanted
    np.testing.assert_array_equal(found.scores, hits.scores[wanted])


def test_an_opposite_is_further_than_a_right_angle() -> None:
    hits = Hits(np.array([0, 2, 3]), np.array([0.9, 0.5, 0.4], np.float32))
    # .5 x .5 - .5 x 0 against .5 x .4 + .5 x 1
    assert diversify(hits, INDEX, 2, 0.5).rows.tolist() == [0, 3]


def test_the_best_comes_first_and_equals_in_their_order() -> None:
    hits = Hits(np.array([1, 0]), np.array([0.5, 0.5], np.float32))
    assert diversify(hits, INDEX, 2, 1.0).rows.tolist() == [1, 0]


@pytest.mark.parametrize("diversity", [0.0, 0.5])
def test_fewer_hits_than_wanted_are_all_given(diversity: float) -> None:
    assert sorted(diversify(HITS, INDEX, 10, diversity).rows.tolist()) == [0, 1, 2]
    nothing = Hits(np.empty(0, np.int64), np.empty(0, np.float32))
    assert not len(diversify(nothing, INDEX, 10, diversity).rows)


@settings(deadline=None)
@given(
    seed=st.integers(0, 10_000),
    count=st.integers(1, 30),
    k=st.integers(1, 35),
    diversity=st.sampled_from([0.1, 0.5, 1]),
)
def test_it_is_the_definition(seed: int, count: int, k: int, diversity: float) -> None:
    draw = np.random.default_rng(seed)
    # whole numbers and eighths: every sum is exact, so that equals are equal in both
    vectors = draw.integers(-3, 4, size=(count + 5, 4)).astype(np.float32)
    rows = draw.permutation(count + 5)[:count]
    scores = np.sort(draw.integers(-8, 9, size=count) / 8)[::-1].astype(np.float32)
    found = diversify(Hits(rows, scores), flat(vectors), k, diversity)
    if diversity != 0.1:
        assert (
            found.rows.tolist()
            == rows[rank_by_marginal_relevance(scores.tolist(), vectors[rows], k, diversity)].tolist()
        )
    assert len(set(found.rows.tolist())) == min(k, count) and found.rows[0] == rows[0]


def test_how_many_candidates() -> None:
    assert [candidates(k, 0.3) for k in (1, 10, 250, 251, 1000)] == [4, 40, 1000, 1000, 1000]
    assert [candidates(k, 0) for k in (1, 1000)] == [1, 1000]


@pytest.mark.parametrize("value", [-1e-9, 1.0001, float("nan"), float("inf")])
def test_only_shares_are_accepted(value: float) -> None:
    check_diversity(0)
    check_diversity(1)
    with pytest.raises(InvalidInput, match="must be from 0 to 1"):
        check_diversity(value)
