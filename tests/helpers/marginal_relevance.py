"""A slow reference for maximal marginal relevance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from twotower.arrays import Float32


def rank_by_marginal_relevance(scores: Sequence[float], vectors: Float32, k: int, diversity: float) -> list[int]:
    """Indices of the `k` chosen products, in the order of choice: follows the definition one pair at a time.

    Scores above 1 are divided by the best one.
    """
    left, chosen = list(range(len(scores))), list[int]()
    scale = max(1.0, *map(float, scores))
    while left and len(chosen) < k:

        def value(place: int) -> float:
            similarity = [float(vectors[place].astype(np.float64) @ vectors[one]) for one in chosen]
            return (1 - diversity) * float(scores[place]) / scale - (diversity * max(similarity) if similarity else 0)

        best = max(left, key=lambda place: (value(place), -place)) if chosen else left[0]
        left.remove(best)
        chosen.append(best)
    return chosen
