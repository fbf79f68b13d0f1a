"""Nearest neighbours by text: they place products that no training has placed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import sparse

from twotower.arrays import Float32, Int64

# neighbours of a product, searched among at most so many reference products, drawn at random
NEAREST, REFERENCES = 30, 10_000
# weight of the neighbours' mean row in an untrained product's row, and how fast a neighbour's weight falls with its
# cosine: of 15 pairs the best on Online Retail and nearly so on Beauty, by the cosine to the true vectors of held-out
# products
NEIGHBOUR_WEIGHT, NEIGHBOUR_SHARPNESS = 0.5, 8.0


def text_neighbour_weights(
    text: Float32, asked: Int64, references: Int64, sharpnesses: Sequence[float], seed: int
) -> list[Any]:
    """For each sharpness, sparse weights [A, N] of the `references` nearest by text to each `asked` product.

    text [N, E] has rows of length 1, or zero rows without a text; asked [A] and references [R] are row numbers. Weights
    grow with exp(sharpness x cosine) and sum to 1 (Nadaraya 1964, Watson 1964, on the nearest alone). They are all zero
    if the asked product has no text, or if the sharpness is 0.
    """
    import faiss

    shape = (len(asked), len(text))
    references = references[text[references].any(axis=1)]
    if len(references) > REFERENCES:
        references = np.sort(np.random.default_rng(seed).choice(references, REFERENCES, replace=False))
    if not len(references) or not len(asked):
        return [sparse.csr_matrix(shape, dtype=np.float32) for _ in sharpnesses]
    count = min(NEAREST, len(references))
    cosines, near = faiss.knn(text[asked], text[references], count, faiss.METRIC_INNER_PRODUCT)
    starts = np.arange(0, near.size + 1, count)
    has_text = (np.square(text[asked]).sum(axis=1) > 0).astype(np.float32)[:, None]
    found = []
    for sharpness in sharpnesses:
        weights = np.exp(sharpness * (cosines - 1)) * has_text * (sharpness > 0)
        weights /= np.maximum(weights.sum(axis=1, keepdims=True), 1e-12)
        found.append(sparse.csr_matrix((weights.ravel(), references[near.ravel()], starts), shape=shape))
    return found
