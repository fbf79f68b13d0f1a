"""Weights of text neighbours, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from trainer.fit import text_neighbours
from trainer.fit.text_neighbours import TextNeighbours

WORDS = sparse.csr_matrix(np.array([[1, 0], [0.6, 0.8], [0, 1], [1, 0], [0, 0]], np.float32))
KNOWN = np.array([0, 1])


def weights(products: list[int], references: list[int], ridge: float = 1.0, seed: int = 1) -> sparse.csr_matrix:
    asked = np.array(products, np.int64)
    return TextNeighbours(WORDS, seed).weights(asked, np.array(references, np.int64), ridge)


def test_the_weights_are_those_of_kernel_ridge_regression() -> None:
    # references with a cosine of .6 to each other: [[2, .6], [.6, 2]] x weights = cosines; determinant 3.64
    wanted = [
        [(2 * 1 - 0.6 * 0.6) / 3.64, (2 * 0.6 - 0.6 * 1) / 3.64, 0, 0, 0],  # cosines 1 and .6
        [(2 * 0 - 0.6 * 0.8) / 3.64, (2 * 0.8 - 0.6 * 0) / 3.64, 0, 0, 0],  # cosines 0 and .8
        [0, 0, 0, 0, 0],  # no text
    ]
    np.testing.assert_allclose(weights([3, 2, 4], [0, 1]).toarray(), wanted, atol=1e-6)


def test_many_products_get_the_weights_that_each_gets_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = [weights([one], [0, 1]).toarray()[0] for one in (3, 2, 4)]
    monkeypatch.setattr(text_neighbours, "_PRODUCTS", 2)
    monkeypatch.setattr(text_neighbours, "_SYSTEMS", 1)
    np.testing.assert_allclose(weights([3, 2, 4], [0, 1]).toarray(), alone, atol=1e-6)


def test_products_without_text_have_and_are_no_neighbours() -> None:
    found = weights([3], [4])
    assert found.shape == (1, 5)
    assert found.nnz == 0
    assert weights([], [0, 1]).shape == (0, 5)


def test_only_the_nearest_of_a_bounded_number_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_neighbours, "NEAREST", 1)
    np.testing.assert_allclose(weights([2], [0, 1]).toarray(), [[0, 0.4, 0, 0, 0]], atol=1e-6)  # .8 / (1 + 1)
    monkeypatch.setattr(text_neighbours, "REFERENCES", 1)
    for seed in range(4):
        assert weights([2], [0, 1], seed=seed).indices.tolist() in ([0], [1])
