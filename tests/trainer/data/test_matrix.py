"""Matrices of products and histories, checked by hand."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from tests.trainer.data.test_popularity import ROWS, STOP
from trainer.data.matrix import history_matrix, item_similarities, keep_largest
from trainer.data.split import Cases


def test_item_similarities_are_cosines_of_the_products_buyers_without_their_own() -> None:
    # product 0 has both buyers, product 1 the first alone: 1 / sqrt(2 x 1)
    wanted = np.zeros((4, 4))
    wanted[0, 1] = wanted[1, 0] = 1 / np.sqrt(2)
    np.testing.assert_allclose(item_similarities(ROWS, STOP, 4).toarray(), wanted, rtol=1e-6)


def test_a_history_weighs_its_newest_interactions_most_and_adds_up_repeated_products() -> None:
    one = np.array([0])
    cases = Cases(np.array([0, 1]), np.array([0, 3]), np.array([3, 4]), np.array([3, 4]))
    # buyer 0 took 0, 0, 1: product 1 weighs 1, product 0 .5 and .25
    np.testing.assert_allclose(history_matrix(ROWS, cases, 3, 3, 0.5).toarray(), [[0.75, 1, 0], [1, 0, 0]])
    np.testing.assert_allclose(history_matrix(ROWS, cases, 3, 2, 0.5).toarray(), [[0.5, 1, 0], [1, 0, 0]])
    empty = Cases(one, one, one, one)
    assert history_matrix(ROWS, empty, 3, 2, 0.5).nnz == 0


def test_the_largest_entries_of_each_row_are_kept_and_of_equal_ones_those_on_the_left() -> None:
    matrix = sparse.csr_matrix(np.array([[0.2, 0.5, 0.2, 0.9], [0, 0, 0, 0.1], [0.3, 0.3, 0.3, 0]]))
    kept = keep_largest(matrix, 2)
    np.testing.assert_array_equal(kept.toarray(), [[0, 0.5, 0, 0.9], [0, 0, 0, 0.1], [0.3, 0.3, 0, 0]])
    assert kept.has_sorted_indices
