"""The Gram matrix of products, and its inverse, in the memory of one dense matrix."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from scipy import sparse
from scipy.linalg import lapack

from trainer.cluster.parts import Engine, Part
from trainer.errors import DataError
from twotower.arrays import Float32

# columns or rows handled at once
_BLOCK = 512
# entries in a shard of the buyers: its Gram matrix takes longer to compute than to send
SHARD = 10_000_000


def gram_matrix(matrix: sparse.csr_matrix) -> Float32:
    """How many buyers have both of two products [N, N], from buyers by products [B, N]; in Fortran order."""
    columns = matrix.tocsc()
    count = columns.shape[1]
    gram = np.empty((count, count), np.float32, order="F")
    for start in range(0, count, _BLOCK):
        # the sparse product of all columns at once may take more memory than the dense matrix
        gram[:, start : start + _BLOCK] = (columns.T @ columns[:, start : start + _BLOCK]).toarray()
    return gram


def sum_of_grams(matrix: sparse.csr_matrix, engine: Engine) -> Float32:
    """As `gram_matrix`, summed over shards of buyers with about `SHARD` entries each. A single shard stays here.

    The sum is the same to the byte in any order: counts of buyers are exact in float32 up to 16.7 million.
    """
    shards, count = -(-matrix.nnz // SHARD), matrix.shape[1]
    if shards < 2:
        return gram_matrix(matrix)
    total = np.zeros((count, count), np.float32)
    # a cluster may cut a result between two rows
    for part in engine.map(_shards(matrix.tocsr(), shards), GramWorker, count):
        start = int(part["product"][0])
        total[start : start + len(part["product"])] += part["buyers"]
    return total.T  # symmetric, now in Fortran order


class GramWorker:
    """Computes the Gram matrix of a shard: rows `buyers` [N, N], by `product` [N]."""

    def __init__(self, products: int) -> None:
        self._products = products

    def __call__(self, part: Part) -> Part:
        ones = np.ones(len(part["buyer"]), np.float32)
        shape = (int(part["buyer"][-1]) + 1, self._products)
        gram = gram_matrix(sparse.csr_matrix((ones, (part["buyer"], part["product"])), shape=shape))
        return {"product": np.arange(self._products), "buyers": gram.T}


def _shards(matrix: sparse.csr_matrix, count: int) -> Iterator[Part]:
    """The entries of `count` runs of buyers, who are numbered from 0 in each; all runs have about as many entries."""
    edges = np.searchsorted(matrix.indptr, np.arange(count + 1) * (matrix.nnz / count))
    edges[-1] = matrix.shape[0]
    for start, stop in pairwise(edges.tolist()):
        entries = slice(matrix.indptr[start], matrix.indptr[stop])
        buyer = np.repeat(np.arange(stop - start, dtype=np.int32), np.diff(matrix.indptr[start : stop + 1]))
        if len(buyer):
            yield {"buyer": buyer, "product": matrix.indices[entries]}


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
