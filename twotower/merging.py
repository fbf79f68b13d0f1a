"""What a whole search and a merge of the answers of shards do in the same way: order products, and choose diverse ones.

Pure functions on arrays, so that the same numbers give the same products in every process.
"""

from __future__ import annotations

import numpy as np

from twotower.arrays import Float32, Float64, Int64
from twotower.caller import check_caller


def best_of(scores: Float32, orders: Int64, k: int) -> Int64:
    """The places [<= k] of the highest scores [M], best first; of equal ones the lower number in `orders` [M] first."""
    places: Int64 = np.lexsort((orders, -scores))[:k]
    return places


def by_price(prices: Float64, *, descending: bool) -> Int64:
    """The places [M] by price, equal ones in the order they have; NaN, which is no price, comes last."""
    places: Int64 = np.argsort(-prices if descending else prices, kind="stable")
    return places


def choose_diverse(scores: Float32, vectors: Float32, k: int, diversity: float) -> Int64:
    """Chooses at most `k` of products by maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998).

    `scores` [M], falling, and `vectors` [M, D] of the products; returns their places in the order chosen.

    The first is the best. Each next one has the highest (1 - diversity) x score - diversity x its largest inner product
    with any product chosen before; ties go to the better one. A fused score may be above 1, which no inner product of
    unit vectors is: the scores are then divided by the best one. Takes O(k x M) time, and ends with its caller.
    """
    count = len(scores)
    if not diversity or not count:
        return np.arange(min(k, count))
    relevance = (1 - diversity) * scores / max(1.0, float(scores[0]))
    nearest = np.full(count, -np.inf, np.float32)
    chosen, best = list[int](), 0
    while True:
        chosen.append(best)
        if len(chosen) == min(k, count):
            return np.array(chosen, np.int64)
        check_caller()
        relevance[best] = -np.inf
        nearest = np.maximum(nearest, inner_products_of_rows(vectors, vectors[best]))
        best = int((relevance - diversity * nearest).argmax())


def inner_products_of_rows(vectors: Float32, vector: Float32) -> Float32:
    """Inner products [M] of rows [M, D] with one vector [D]; none depends on how many rows there are.

    BLAS adds in another order for another number of rows, and its threads would wait for one another over so little
    work.
    """
    products: Float32 = np.einsum("md,d->m", vectors, vector)
    return products


def named_score(scores: Float32) -> float:
    """The score of a product that a search names, in front of others with these scores: at least 1, that of a text with
    itself.
    """
    return max([1.0, *map(float, scores)])
