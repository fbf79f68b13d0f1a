"""Weights of text neighbours, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from trainer.fit import text_neighbours
from trainer.fit.text_neighbours import text_neighbour_weights

TEXT = np.array([[1, 0], [0.6, 0.8], [0, 1], [1, 0], [0, 0]], np.float32)
KNOWN = np.array([0, 1])


def test_nearer_neighbours_weigh_more() -> None:
    sharp, none = (
        one.toarray() for one in text_neighbour_weights(TEXT, np.array([3, 2, 4]), KNOWN, [4.0, 0.0], seed=1)
    )
    # cosines 1 and .6, and 0 and .8: exp(4 x their difference)
    share, other = 1 / (1 + math.exp(-1.6)), 1 / (1 + math.exp(3.2))
    wanted = [[share, 1 - share, 0, 0, 0], [other, 1 - other, 0, 0, 0], [0, 0, 0, 0, 0]]  # the last has no text
    np.testing.assert_allclose(sharp, wanted, atol=1e-6)
    assert not none.any()


def test_products_without_text_have_and_are_no_neighbours() -> None:
    (found,) = text_neighbour_weights(TEXT, np.array([3]), np.array([4]), [4.0], seed=1)
    assert found.shape == (1, 5)
    assert found.nnz == 0
    (nobody,) = text_neighbour_weights(TEXT, np.array([], np.int64), KNOWN, [4.0], seed=1)
    assert nobody.shape == (0, 5)


def test_only_the_nearest_of_a_bounded_number_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_neighbours, "NEAREST", 1)
    (found,) = text_neighbour_weights(TEXT, np.array([2]), KNOWN, [4.0], seed=1)
    assert found.toarray().tolist() == [[0, 1, 0, 0, 0]]
    monkeypatch.setattr(text_neighbours, "REFERENCES", 1)
    for seed in range(4):
        (found,) = text_neighbour_weights(TEXT, np.array([2]), KNOWN, [4.0], seed=seed)
        assert sorted(found.toarray()[0]) == [0, 0, 0, 0, 1]
