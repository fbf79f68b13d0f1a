"""Item vectors: partial correlations of products, cut to their leading eigenvectors."""

from __future__ import annotations

import numpy as np
from scipy import linalg, sparse

from trainer.config.schema import Linear
from trainer.data.events import Events
from trainer.data.matrix import training_matrix
from twotower.arrays import Float32, Int64

# rounds of the subspace iteration, and directions carried beyond those that are wanted
_ROUNDS, _SPARE = 6, 32


def item_vectors(
    events: Events, train_stop: Int64, products: int, dimension: int, config: Linear, seed: int
) -> Float32:
    """Unit vectors [N, dimension] of products that others were bought with; zero where there are none."""
    matrix = training_matrix(events, train_stop, products).tocsc()
    counts = np.asarray(matrix.sum(axis=0)).ravel()
    known = np.flatnonzero(counts)
    chosen = np.sort(known[np.argsort(-counts[known], kind="stable")[: config.products]])
    placed = np.zeros((products, dimension), np.float32)
    if len(chosen) < 2:
        return placed
    core = matrix[:, chosen]
    gram = np.asarray((core.T @ core).todense(), np.float32)
    placed[chosen] = _leading(_partial_correlations(gram, config.l2), min(dimension, len(chosen)), dimension, seed)
    rest = np.setdiff1d(known, chosen)
    if len(rest):
        together = (matrix[:, rest].T @ core).astype(np.float32)  # [R, C] buyers that took both
        # a product that everyone takes says little
        weights = together @ sparse.diags((1 / np.sqrt(counts[chosen])).astype(np.float32))
        placed[rest] = unit(weights @ placed[chosen])
    return placed


def _partial_correlations(gram: Float32, l2: float) -> Float32:
    """Of products given all others [C, C], 1 on the diagonal."""
    gram[np.diag_indices(len(gram))] += np.float32(l2)
    inverse = linalg.inv(gram, overwrite_a=True, check_finite=False)
    scale = 1 / np.sqrt(np.diag(inverse))
    found: Float32 = -inverse * scale[:, None] * scale
    found[np.diag_indices(len(found))] = 1
    found += found.T.copy()  # to the last bit symmetric
    found /= 2
    return found


def _leading(matrix: Float32, wanted: int, dimension: int, seed: int) -> Float32:
    """Unit rows [C, dimension] of the leading eigenvectors, scaled by the roots of their eigenvalues.

    Subspace iteration with a Rayleigh-Ritz step (Halko et al. 2011, arXiv:0909.4061).
    """
    size = min(wanted + _SPARE, len(matrix))
    basis = np.random.default_rng(seed).standard_normal((len(matrix), size)).astype(np.float32)
    for _ in range(_ROUNDS):
        basis, _ = np.linalg.qr(matrix @ basis)
    values, inside = np.linalg.eigh(basis.T @ (matrix @ basis))
    best = np.argsort(-values)[:wanted]
    vectors = (basis @ inside[:, best]) * np.sqrt(np.maximum(values[best], 0))
    found = np.zeros((len(matrix), dimension), np.float32)
    found[:, :wanted] = unit(vectors)
    return found


def unit(vectors: Float32) -> Float32:
    """Rows of length 1; zero rows stay."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    found: Float32 = (vectors / np.maximum(lengths, 1e-12)).astype(np.float32)
    return found
