"""The table of complements of a tiny version."""

from __future__ import annotations

import numpy as np

from twotower.search.complements import ComplementTable

# product: (complement, score, weight in carts); those with a score up to 1 are by category
COMPLEMENTS: dict[int, list[tuple[int, float, float]]] = {
    0: [(9, 5.0, 0.5), (6, 4.0, 0.375), (13, 3.0, 0.25), (2, 1.0, 0.0625)],
    1: [(13, 6.0, 0.5), (0, 2.0, 0.5)],
}


def tiny_complements(products: int = 40) -> ComplementTable:
    """COMPLEMENTS as a table."""
    lists = [COMPLEMENTS.get(product, []) for product in range(products)]
    entries = [one for row in lists for one in row]
    rows, scores, weights = (np.array(column) for column in zip(*entries, strict=True))
    return ComplementTable(
        np.concatenate([[0], np.cumsum([len(row) for row in lists])]).astype(np.int64),
        np.array([sum(score > 1 for _, score, _ in row) for row in lists], np.int32),
        rows.astype(np.int32),
        scores.astype(np.float32),
        weights.astype(np.float32),
    )
