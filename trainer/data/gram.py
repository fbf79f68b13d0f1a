"""The Gram matrix of products, and its inverse, in the memory of one dense matrix."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.linalg import lapack

from trainer.errors import DataError
from twotower.arrays import Float32

# columns or rows handled at once
_BLOCK = 512


def gram_matrix(matrix: sparse.csr_matrix) -> Float32:
    """How many buyers have both of two products [N, N], from buyers by products [B, N]; in Fortran order."""
    columns = matrix.tocsc()
    count = columns.shape[1]
    gram = np.empty((count, count), np.float32, order="F")
    for start in range(0, count, _BLOCK):
        # the sparse product of all columns at once may take more memory than the dense matrix
        gram[:, start : start + _BLOCK] = (columns.T @ columns[:, start : start + _BLOCK]).toarray()
    return gram


def invert(gram: Float32, l2: float) -> None:
    """Overwrites a Gram matrix [N, N] in Fortran order by the lower triangle of (gram + `l2` x identity)^-1.

    Raises DataError if that matrix is singular in float32.
    """
    gram[np.diag_indices(len(gram))] += np.float32(l2)
    factor, failed = lapack.spotrf(gram, lower=1, overwrite_a=1)
    inverse, singular = lapack.spotri(factor, lower=1, overwrite_c=1)
    if failed or singular:
        raise DataError(f"the item matrix is singular with an L2 regularisation of {l2:g}; raise it")
    assert np.shares_memory(inverse, gram), "LAPACK works in place"


def mirror(matrix: Float32) -> None:
    """Copies the lower triangle of a square matrix onto the upper one, in place."""
    for start in range(0, len(matrix), _BLOCK):
        stop = start + _BLOCK
        matrix[start:stop, stop:] = matrix[stop:, start:stop].T
        own = matrix[start:stop, start:stop]
        own[:] = np.tril(own) + np.tril(own, -1).T
