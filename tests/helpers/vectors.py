"""Random unit vectors, and the true best rows among them."""

from __future__ import annotations

import numpy as np

from twotower.arrays import Float32

NONE = np.empty(0, np.int64)


def unit(size: int, dimension: int, seed: int) -> Float32:
    vectors = np.random.default_rng(seed).normal(size=(size, dimension)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def brute_force(vectors: Float32, query: Float32, allowed: set[int], k: int) -> list[int]:
    scores = [(-float((vectors[row] * query).sum()), row) for row in allowed]
    return [row for _, row in sorted(scores)[:k]]
