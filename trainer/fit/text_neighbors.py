"""Products that read alike: what is known of them tells of one of which only the text is known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import sparse

from twotower.arrays import Float32, Int64

# how many of the nearest tell of a product, out of at most so many, drawn at random
NEAREST, REFERENCES = 30, 10_000


# what an untrained product takes of the rows of those that read alike, and how much more the nearer ones count: of 15
# pairs the best on Online Retail and nearly so on Beauty, by the cosine to true vectors of products left out
PART, SHARPNESS = 0.5, 8.0


def alike(text: Float32, asked: Int64, among: Int64, sharpnesses: Sequence[float], seed: int) -> list[Any]:
    """For each sharpness, sparse weights [A, N] of the products `among` whose unit texts [N, E] are nearest to each
    `asked` one.

    They grow with exp(sharpness x cosine) and sum to 1; they are all zero where a product has no text, and at sharpness
    0 (Nadaraya 1964, Watson 1964, on the nearest alone).
    """
    import faiss

    among, shape = among[text[among].any(axis=1)], (len(asked), len(text))
    if len(among) > REFERENCES:
        among = np.sort(np.random.default_rng(seed).choice(among, REFERENCES, replace=False))
    if not len(among) or not len(asked):
        return [sparse.csr_matrix(shape, dtype=np.float32) for _ in sharpnesses]
    count = min(NEAREST, len(among))
    cosines, near = faiss.knn(text[asked], text[among], count, faiss.METRIC_INNER_PRODUCT)
    starts = np.arange(0, near.size + 1, count)
    told = (np.square(text[asked]).sum(axis=1) > 0).astype(np.float32)[:, None]
    found = []
    for sharpness in sharpnesses:
        weights = np.exp(sharpness * (cosines - 1)) * told * (sharpness > 0)
        weights /= np.maximum(weights.sum(axis=1, keepdims=True), 1e-12)
        found.append(sparse.csr_matrix((weights.ravel(), among[near.ravel()], starts), shape=shape))
    return found
