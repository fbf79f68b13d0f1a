"""Maximal marginal relevance as it is defined, slowly: what the product's own is compared with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def most_marginal(scores: Sequence[float], vectors: NDArray[np.float32], k: int, diversity: float) -> list[int]:
    """Places in the order in which the definition chooses them, one pair of products at a time."""
    left, chosen = list(range(len(scores))), list[int]()
    while left and len(chosen) < k:

        def value(place: int) -> float:
            likeness = [float(vectors[place].astype(np.float64) @ vectors[one]) for one in chosen]
            return (1 - diversity) * float(scores[place]) - (diversity * max(likeness) if likeness else 0)

        best = max(left, key=lambda place: (value(place), -place)) if chosen else left[0]
        left.remove(best)
        chosen.append(best)
    return chosen
