"""What completes a cart: complements that the filter allows, then popular products while there are fewer than k."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from twotower.arrays import Int64, Mask
from twotower.errors import InvalidInput
from twotower.search.complements import Completion

MAX_CART = 100
NOTHING = Completion(np.empty(0, np.int64), np.empty(0, np.float32), np.empty(0, np.int64), np.empty(0, np.bool_))


def check_cart(product_ids: Sequence[str], field: str) -> None:
    """Raises InvalidInput for an empty cart, a large one, and one that holds a product twice."""
    if not 1 <= len(product_ids) <= MAX_CART:
        raise InvalidInput(field, len(product_ids), f"is the number of products, which must be 1 to {MAX_CART}")
    if len(set(product_ids)) < len(product_ids):
        raise InvalidInput(field, list(product_ids), "holds a product twice")


def fill(found: Completion, mask: Mask | None, excluded: Int64, popular: Int64, k: int) -> Completion:
    """The first k complements that the mask [N] allows and that are not excluded, then rows of `popular`.

    `because` is -1 and the score 0 for a popular one.
    """
    kept = found.take(_allowed(found.rows, mask, excluded)[:k])
    missing = k - len(kept.rows)
    # so many are left even if each excluded one and each complement is among the first
    others = popular if mask is None else popular[mask[popular]]
    others = others[: missing + len(excluded) + len(kept.rows)] if missing else others[:0]
    others = others[~np.isin(others, np.concatenate([excluded, kept.rows]))][:missing]
    return extended(kept, others)


def extended(found: Completion, rows: Int64) -> Completion:
    """With more rows behind, which no product of the cart speaks for."""
    count = len(rows)
    return Completion(
        np.concatenate([found.rows, rows]),
        np.concatenate([found.scores, np.zeros(count, np.float32)]),
        np.concatenate([found.because, np.full(count, -1, np.int64)]),
        np.concatenate([found.is_known, np.zeros(count, np.bool_)]),
    )


def _allowed(rows: Int64, mask: Mask | None, excluded: Int64) -> Int64:
    """The places of the allowed rows."""
    is_allowed = ~np.isin(rows, excluded)
    if mask is not None:
        is_allowed &= mask[rows]
    return np.flatnonzero(is_allowed)
