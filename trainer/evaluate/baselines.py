"""The baselines: simple recommenders, fitted on the training events of the tested model."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import sparse
from scipy.linalg import lapack

from trainer.data.events import Events
from trainer.data.matrix import item_similarities, training_matrix
from trainer.data.split import Cases
from trainer.errors import DataError
from twotower.arrays import Float32, Int64

# returns the scores [B, N] of B cases
Scorer = Callable[[Cases], Float32]

# item-kNN reads this many latest interactions and multiplies the weight by this factor at each step back
_LAST, _DECAY = 50, 0.8


def popularity_scorer(share: Float32) -> Scorer:
    """Gives every buyer the same scores."""
    return lambda cases: np.broadcast_to(share, (len(cases), len(share)))


def item_knn_scorer(events: Events, train_stop: Int64, products: int) -> Scorer:
    """Item-kNN: cosine of products over the training matrix, summed over the last 50 interactions.

    Each interaction weighs 0.8 of the next newer one.
    """
    similar = item_similarities(events, train_stop, products)

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
    """EASE: a linear autoencoder with a zero diagonal, in closed form.

    A history is a set: order and repetition do not count. Holds two float32 matrices [N, N]. Raises DataError if the
    item matrix is singular. Source: Steck 2019, "Embarrassingly Shallow Autoencoders for Sparse Data".
    """
    matrix = training_matrix(events, train_stop, products)
    gram = np.asarray((matrix.T @ matrix).todense(), np.float32)
    gram[np.diag_indices(products)] += np.float32(l2)
    # a symmetric matrix equals its transpose, which has the memory order that LAPACK overwrites in place
    factor, failed = lapack.spotrf(gram.T, lower=1, overwrite_a=1)
    inverse, singular = lapack.spotri(factor, lower=1, overwrite_c=1)
    if failed or singular:
        raise DataError(f"EASE: the item matrix is singular with evaluation.ease_l2={l2}; raise it")
    _mirror(inverse)
    weights = inverse.T  # [N, N] in row-major order: scipy would copy the other order for every chunk
    weights /= -np.diag(inverse).copy()
    weights[np.diag_indices(products)] = 0

    def score(cases: Cases) -> Float32:
        sizes = cases.cut - cases.start
        rows = np.repeat(np.arange(len(cases)), sizes)
        columns = np.concatenate([events.product[a:b] for a, b in zip(cases.start, cases.cut, strict=True)])
        histories = sparse.csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), shape=(len(cases), products))
        histories.data[:] = 1  # scipy has summed the duplicates
        return np.asarray(histories @ weights, np.float32)

    return score


def _mirror(matrix: Float32, block: int = 1024) -> None:
    """Copies the lower triangle onto the upper one, in place: LAPACK fills only the lower."""
    for start in range(0, len(matrix), block):
        stop = start + block
        matrix[start:stop, stop:] = matrix[stop:, start:stop].T
        own = matrix[start:stop, start:stop]
        own[:] = np.tril(own) + np.tril(own, -1).T
