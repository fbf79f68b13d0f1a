"""Vectors of length 1."""

from __future__ import annotations

import numpy as np

from twotower.arrays import Float32


def normalise_rows(vectors: Float32) -> Float32:
    """Scales rows to length 1; zero rows stay zero."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    normalised: Float32 = (vectors / np.maximum(lengths, 1e-12)).astype(np.float32)
    return normalised
