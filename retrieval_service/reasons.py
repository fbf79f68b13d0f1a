"""What the scores of an answer consist of: the products of the history, the rest of the buyer's vector, the prior."""

from __future__ import annotations

from collections.abc import Sequence
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


def explain(
    parts: Parts,
    history: Sequence[int],
    score: FusedScore,
    ids: NDArray[np.object_],
    rows: Int64,
    vectors: Float32,
) -> Reasons:
    """Takes the fused scores of products apart: `rows` [K], -1 for a live product, with their `vectors` [K, D].

    `history`: the rows that the score read, newest first; `ids` [N]: those of all rows. Raises InvalidInput for parts
    of another shape.
    """
    dimension, count = vectors.shape[1], len(parts.product_ids)
    if len(parts.data) != 4 * dimension * (count + 1):
        problem = f"bytes are not {count} products and one row of {dimension} numbers"
        raise InvalidInput("parts.data", len(parts.data), problem)
    columns = {one: column for column, one in enumerate(parts.product_ids)}
    if len(columns) < count:
        raise InvalidInput("parts.product_ids", list(parts.product_ids), "holds a product twice")
    rows_of_parts = np.frombuffer(parts.data, "<f4").reshape(-1, dimension)
    # product by product: one matrix product would round in another way for another number of products
    products = np.array([rows_of_parts @ one for one in vectors], np.float32).reshape(len(vectors), count + 1)
    by_vector = score.vector_weight * products  # [K, U + 1]
    is_trained = rows >= 0
    by_product = score.by_product(history, rows[is_trained])  # [K, S]
    newest = [str(ids[row]) for row in history[: by_product.shape[1]]]
    for one in newest:
        columns.setdefault(one, len(columns))
    contributions = np.zeros((len(rows), len(columns) + 2), np.float32)
    contributions[:, :count] = by_vector[:, :-1]
    contributions[:, -2] = by_vector[:, -1]
    for step, one in enumerate(newest):
        contributions[is_trained, columns[one]] += by_product[:, step]
    if score.base is not None:
        contributions[is_trained, -1] = score.base[rows[is_trained]]
    return Reasons(list(columns), contributions)
