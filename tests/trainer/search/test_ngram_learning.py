"""The query side of the table of n-grams: one step of gradient descent by hand, and what damps it."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from trainer.search.ngram_learning import damping, descend


def test_one_step_is_the_gradient_worked_out_by_hand() -> None:
    # one query of length 2 along x with two n-grams of weights 1 and .5; its target is y
    sums, targets = np.array([[2.0, 0.0]], np.float32), np.array([[0.0, 1.0]], np.float32)
    added = descend(sums, sparse.csr_matrix([[1.0, 0.5]]), targets, np.array([1.0, 0.25]), steps=1)
    # shares .5 and .25; the gradient of the cosine at x is y, and the curvatures .375 and .1875 are below 1
    np.testing.assert_allclose(added, [[0, 0.5], [0, 0.25 * 0.25]], atol=1e-6)


def test_a_query_that_is_at_its_target_learns_nothing() -> None:
    target = np.array([[0.6, 0.8]], np.float32)
    added = descend(5 * target, sparse.csr_matrix([[1.0, 3.0]]), target, np.ones(2))
    np.testing.assert_allclose(added, 0, atol=1e-6)


def test_an_ngram_of_many_queries_does_not_overshoot() -> None:
    sums, targets = np.tile(np.float32([[1, 0]]), (500, 1)), np.tile(np.float32([[0, 1]]), (500, 1))
    added = descend(sums, sparse.csr_matrix(np.ones((500, 1))), targets, np.ones(1))
    vector = np.array([1, 0]) + added[0]
    cosine = vector[1] / np.linalg.norm(vector)
    assert 0.8 < cosine <= 1
    # the steps of one query that has it to itself
    alone = descend(sums[:1], sparse.csr_matrix([[1.0]]), targets[:1], np.ones(1))
    np.testing.assert_allclose(added, alone, rtol=1e-3)


def test_what_many_titles_hold_moves_less() -> None:
    np.testing.assert_allclose(damping(np.array([0, 20, 180])), [1, 0.5, 0.1])
