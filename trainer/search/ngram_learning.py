"""Learns from searches what the n-grams of queries mean: the query side of the catalogue encoder's table.

The vectors of products stay as they are. Gradient descent moves each wording's vector towards the products that buyers
chose, by vectors that are added to its n-grams. An n-gram that many titles hold means something already: it moves less.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import sparse

from trainer.search.wordings import Wordings
from twotower.arrays import Float32, Float64, Int64
from twotower.graphs.query_ngrams import QueryNgrams
from twotower.graphs.text_encoder import TextEncoder
from twotower.search.vector_index import unit_rows
from twotower.text.ngrams import Bag

_STEPS, _RATE = 30, 1.0
# an n-gram that so many titles hold moves half as far as one that none holds
_HALF_TITLES = 20
_BATCH = 256


class NgramLearner:
    """Learns from wordings over one catalogue. `vectors` [N, E] are its unit text vectors, `titles` its titles."""

    def __init__(self, encoder: TextEncoder, vectors: Float32, titles: Sequence[str]) -> None:
        self._encoder, self._vectors = encoder, vectors
        self._centre = vectors.mean(axis=0)
        self._held = _titles_that_hold(encoder, titles)

    def learn(self, wordings: Wordings) -> QueryNgrams:
        """What is added to the n-grams of these wordings."""
        bags = self._encoder.bags(wordings.texts)
        ids, counts = _counts(bags)
        sums = np.concatenate([self._encoder.sums(bags[at : at + _BATCH]) for at in range(0, len(bags), _BATCH)])
        chosen = wordings.votes @ self._vectors / wordings.buyers[:, None]
        # what all products share says nothing of those chosen
        targets = unit_rows((chosen - self._centre).astype(np.float32))
        added = descend(sums, counts, targets, damping(self._held[ids]))
        return QueryNgrams(ids, added)


def descend(
    sums: Float32, counts: sparse.csr_matrix, targets: Float32, damped: Float64, steps: int = _STEPS
) -> Float32:
    """What is added to each n-gram [G, E] after some steps of gradient descent on the sum of 1 - cos(query, target).

    A query's vector is that of `sums` + `counts` @ added, [Q, E]; `counts` [Q, G] are the weights of its n-grams and
    `targets` unit vectors. The step of an n-gram is its gradient x `damped` [G], divided by the curvature that the
    queries which share it can have, where that is above 1.
    """
    lengths = np.linalg.norm(sums, axis=1)
    shares = sparse.diags(1 / np.maximum(lengths, 1e-12)) @ counts  # [Q, G]
    own = unit_rows(sums)
    curvature = shares.T @ np.asarray(shares.sum(axis=1)).ravel()  # Gershgorin's bound, with |shares| = shares
    rates = (_RATE * damped / np.maximum(1, curvature)).astype(np.float32)[:, None]
    shares = shares.astype(np.float32)
    added = np.zeros((counts.shape[1], sums.shape[1]), np.float32)
    for _ in range(steps):
        vectors = own + shares @ added
        size = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)
        vectors /= size
        # the gradient of the cosine has no part along the query itself
        along = np.einsum("qe,qe->q", targets, vectors)[:, None]
        added += rates * (shares.T @ ((targets - along * vectors) / size))
    return added


def damping(held: Int64) -> Float64:
    """How far n-grams move that so many titles hold, as a share of one that none holds."""
    return 1 / (1 + held / _HALF_TITLES)


def _titles_that_hold(encoder: TextEncoder, titles: Sequence[str]) -> Int64:
    """How many titles hold each n-gram [buckets]."""
    assert encoder.spec.ngrams is not None, "only an encoder of n-grams learns from searches"
    held = np.zeros(encoder.spec.ngrams["buckets"], np.int64)
    for at in range(0, len(titles), _BATCH):
        for bag in encoder.bags(titles[at : at + _BATCH]):
            held[np.unique(bag.ids)] += 1
    return held


def _counts(bags: Sequence[Bag]) -> tuple[Int64, sparse.csr_matrix]:
    """The ids [G] of all n-grams, rising, and their weights in each bag [Q, G]."""
    flat = np.array([one for bag in bags for one in bag.ids], np.int64)
    weights = np.array([one for bag in bags for one in bag.weights], np.float64)
    ids, columns = np.unique(flat, return_inverse=True)
    starts = np.cumsum([0, *(len(bag.ids) for bag in bags)])
    matrix = sparse.csr_matrix((weights, columns, starts), (len(bags), len(ids)))
    matrix.sum_duplicates()
    return ids, matrix
