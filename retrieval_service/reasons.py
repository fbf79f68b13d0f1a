"""What the scores of an answer consist of: the products of the history, the rest of the buyer's vector, the prior."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from twotower.arrays import Float32, Int64
from twotower.errors import InvalidInput
from twotower.search.fused_score import FusedScore


class Parts(NamedTuple):
    """A buyer's vector as a sum: float32 rows for products of the history, then one for what none of them adds."""

    product_ids: Sequence[str]
    data: bytes


class Reasons(NamedTuple):
    """Products of a history [H], and what each adds to the scores: [K, H + 2], then the rest and the prior.

    The sum of a row is the score.
    """

    product_ids: list[str]
    contributions: Float32


class Products(NamedTuple):
    """Product id → row, and row → product id."""

    rows: Mapping[str, int]
    ids: NDArray[np.object_]


def explain(
    parts: Parts, history: Sequence[int], score: FusedScore, products: Products, rows: Int64, vectors: Float32
) -> Reasons:
    """Takes the fused scores of products apart: `rows` [K], with their `vectors` [K, D].

    `history`: the rows that the score read, newest first. Raises InvalidInput for parts of another shape, or of
    products that the version does not hold.
    """
    dimension = vectors.shape[1]
    if len(parts.data) != 4 * dimension * (len(parts.product_ids) + 1):
        problem = f"bytes are not {len(parts.product_ids)} products and one row of {dimension} numbers"
        raise InvalidInput("parts.data", len(parts.data), problem)
    sums = np.frombuffer(parts.data, "<f4").reshape(-1, dimension)  # [U + 1, D]
    columns = {products.rows[one]: column for column, one in enumerate(parts.product_ids) if one in products.rows}
    if len(columns) < len(parts.product_ids):
        raise InvalidInput("parts.product_ids", list(parts.product_ids), "holds an unknown product, or one twice")
    by_vector = score.vector_weight * (vectors @ sums.T)  # [K, U + 1]
    by_product = score.by_product(history, rows)  # [K, S]
    newest = history[: by_product.shape[1]]
    for row in newest:
        columns.setdefault(row, len(columns))
    contributions = np.zeros((len(rows), len(columns) + 2), np.float32)
    contributions[:, : len(parts.product_ids)] = by_vector[:, :-1]
    contributions[:, -2] = by_vector[:, -1]
    for step, row in enumerate(newest):
        contributions[:, columns[row]] += by_product[:, step]
    if score.base is not None:
        contributions[:, -1] = score.base[rows]
    return Reasons([products.ids[row] for row in columns], contributions)
