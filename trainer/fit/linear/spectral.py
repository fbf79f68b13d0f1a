"""Item vectors: the leading eigenvectors of the partial correlations between products."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from trainer.cluster.parts import Engine
from trainer.config.schema import Linear
from trainer.data.gram import gram_matrix, invert, mirror, sum_of_grams
from trainer.data.matrix import training_matrix
from trainer.fit.normalise import normalise_rows
from trainer.fit.training_set import TrainingSet
from twotower.arrays import Float32

# rounds of the subspace iteration, and directions that it carries beyond the wanted ones
_ROUNDS, _SPARE = 6, 32
# products outside the exact ones that are placed at once
_BLOCK = 4096


def item_vectors(
    data: TrainingSet, products: int, dimension: int, config: Linear, seed: int, engine: Engine | None = None
) -> Float32:
    """Vectors [N, dimension] of length 1; zero for products without training events.

    The `config.products` most popular ones are placed exactly. Each other product is the mean of those that the same
    buyers took. With an `engine`, it counts the buyers of each pair of products.
    """
    matrix = training_matrix(data.events, data.stop, products).tocsc()
    counts = np.asarray(matrix.sum(axis=0)).ravel()
    known = np.flatnonzero(counts)
    chosen = np.sort(known[np.argsort(-counts[known], kind="stable")[: config.products]])
    placed = np.zeros((products, dimension), np.float32)
    if len(chosen) < 2:
        return placed
    core = matrix[:, chosen]
    gram = sum_of_grams(core, engine) if engine else gram_matrix(core)
    correlations = _partial_correlations(gram, config.l2)
    placed[chosen] = _leading(correlations, min(dimension, len(chosen)), dimension, seed)
    rest = np.setdiff1d(known, chosen)
    # a product that everyone takes carries little information
    scale = sparse.diags((1 / np.sqrt(counts[chosen])).astype(np.float32))
    for start in range(0, len(rest), _BLOCK):
        some = rest[start : start + _BLOCK]
        together = (matrix[:, some].T @ core).astype(np.float32)  # [R, C] buyers who took both
        placed[some] = normalise_rows(together @ scale @ placed[chosen])
    return placed


def _partial_correlations(gram: Float32, l2: float) -> Float32:
    """Partial correlations [C, C] of products given all others, 1 on the diagonal; overwrites `gram`."""
    invert(gram, l2)
    scale = 1 / np.sqrt(np.diag(gram))
    gram *= scale
    gram *= -scale[:, None]
    gram[np.diag_indices(len(gram))] = 1
    mirror(gram)
    return gram


def _leading(matrix: Float32, wanted: int, dimension: int, seed: int) -> Float32:
    """Normalised rows [C, dimension] of the `wanted` leading eigenvectors, scaled by the roots of their eigenvalues.

    Subspace iteration with a Rayleigh-Ritz step (Halko et al. 2011, arXiv:0909.4061).
    """
    size = min(wanted + _SPARE, len(matrix))
    basis = np.random.default_rng(seed).standard_normal((len(matrix), size)).astype(np.float32)
    for _ in range(_ROUNDS):
        basis, _ = np.linalg.qr(matrix @ basis)
    values, inside = np.linalg.eigh(basis.T @ (matrix @ basis))
    best = np.argsort(-values)[:wanted]
    vectors = (basis @ inside[:, best]) * np.sqrt(np.maximum(values[best], 0))
    rows = np.zeros((len(matrix), dimension), np.float32)
    rows[:, :wanted] = normalise_rows(vectors)
    return rows
