"""What a model must beat: simple recommenders fitted on the same training events."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.linalg import lapack

from trainer.data.events import Events
from trainer.data.matrix import training_matrix
from trainer.data.split import Cases
from trainer.errors import DataError
from twotower.arrays import Float32, Int64

# scores [B, N] of some cases
Scorer = Callable[[Cases], Float32]


_LAST, _DECAY = 50, 0.8


def popularity(events: Events, train_stop: Int64, products: int, weights: NDArray[np.float32]) -> Float32:
    """Each product's share [N] of the training events' weight."""
    chosen = np.arange(len(events.buyer)) < train_stop[events.buyer]
    counts = np.bincount(events.product[chosen], weights[events.kind[chosen]], minlength=products)
    share: Float32 = (counts / max(counts.sum(), 1e-12)).astype(np.float32)
    return share


def buyer_counts(events: Events, train_stop: Int64, products: int) -> Float32:
    """How many buyers have a training event with each product [N]: as a baseline stronger than counting events."""
    counts: Float32 = np.asarray(training_matrix(events, train_stop, products).sum(axis=0), np.float32).ravel()
    return counts


def popularity_scorer(share: Float32) -> Scorer:
    """Everyone gets the same."""
    return lambda cases: np.broadcast_to(share, (len(cases), len(share)))


def item_knn_scorer(events: Events, train_stop: Int64, products: int) -> Scorer:
    """Item-to-item cosine over the training matrix; the last 50 interactions, each 0.8 of the one after it."""
    matrix = training_matrix(events, train_stop, products)
    norms = np.sqrt(np.asarray(matrix.sum(axis=0)).ravel())
    scaled = matrix @ sparse.diags(1 / np.maximum(norms, 1e-12))
    similar = (scaled.T @ scaled).tocsr()
    similar.setdiag(0)

    def score(cases: Cases) -> Float32:
        rows, columns, values = [], [], []
        for row, (start, cut) in enumerate(zip(cases.start, cases.cut, strict=True)):
            last = events.product[max(start, cut - _LAST) : cut][::-1]
            rows += [row] * len(last)
            columns += last.tolist()
            values += (_DECAY ** np.arange(len(last))).tolist()
        histories = sparse.csr_matrix((values, (rows, columns)), shape=(len(cases), products))
        return np.asarray((histories @ similar).todense(), np.float32)

    return score


def ease_scorer(events: Events, train_stop: Int64, products: int, l2: float) -> Scorer:
    """A linear autoencoder with a zero diagonal in closed form (Steck 2019, "Embarrassingly Shallow Autoencoders").

    Histories are sets: order and repetition do not count. Holds two products by products matrices in float32.
    """
    matrix = training_matrix(events, train_stop, products)
    gram = np.asarray((matrix.T @ matrix).todense(), np.float32)
    gram[np.diag_indices(products)] += np.float32(l2)
    # symmetric, so its transpose is itself in the order that LAPACK overwrites in place
    factor, failed = lapack.spotrf(gram.T, lower=1, overwrite_a=1)
    inverse, singular = lapack.spotri(factor, lower=1, overwrite_c=1)
    if failed or singular:
        raise DataError(f"EASE: the item matrix is singular with evaluation.ease_l2={l2}; raise it")
    _mirror(inverse)
    weights = inverse.T  # [N, N], the same numbers row by row: scipy would copy all of it for every chunk
    weights /= -np.diag(inverse).copy()
    weights[np.diag_indices(products)] = 0

    def score(cases: Cases) -> Float32:
        sizes = cases.cut - cases.start
        rows = np.repeat(np.arange(len(cases)), sizes)
        columns = np.concatenate([events.product[a:b] for a, b in zip(cases.start, cases.cut, strict=True)])
        histories = sparse.csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), shape=(len(cases), products))
        histories.data[:] = 1  # duplicates were summed
        return np.asarray(histories @ weights, np.float32)

    return score


def _mirror(matrix: Float32, block: int = 1024) -> None:
    """Copies the lower triangle onto the upper one, in place: LAPACK fills one."""
    for start in range(0, len(matrix), block):
        stop = start + block
        matrix[start:stop, stop:] = matrix[stop:, start:stop].T
        own = matrix[start:stop, start:stop]
        own[:] = np.tril(own) + np.tril(own, -1).T
