"""Hits in another order, and several hits as one: all that belongs to a product moves with it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gateway.clients.services import Hits
from twotower.arrays import Int64, Mask
from twotower.pb import retrieval_pb2
from twotower.serving import wire


def take(hits: Hits, order: Int64) -> Hits:
    """The hits at these places, in this order."""
    places = order.tolist()
    return hits._replace(
        packed_ids=_taken(hits.packed_ids, places),
        scores=hits.scores[order],
        reasons=_reordered(hits, order),
        marks=marks_of(hits)[:, order].tobytes() if hits.marks else b"",
        brands=_taken(hits.brands, places),
        categories=_taken(hits.categories, places),
    )


def join(parts: Sequence[Hits]) -> Hits:
    """All products of several answers to one question, whose `marks` and `reasons` have the same conditions and parts.

    The rest is that of the first. A product that stands in several is there as often.
    """
    first, full = parts[0], [one for one in parts if len(one.scores)]
    if len(full) < 2:
        return (
            first
            if not full or full[0] is first
            else full[0]._replace(
                unknown_filter_values=first.unknown_filter_values, is_below_noise=first.is_below_noise
            )
        )
    reasons = first.reasons
    if all(one.reasons is not None for one in full):
        rows = b"".join(one.reasons.contributions for one in full if one.reasons is not None)
        reasons = retrieval_pb2.Reasons(product_ids=full[0].reasons.product_ids, contributions=rows)  # type: ignore[union-attr]
    return first._replace(
        packed_ids="\0".join(one.packed_ids for one in full),
        scores=np.concatenate([one.scores for one in full]),
        reasons=reasons,
        marks=np.concatenate([marks_of(one) for one in full], axis=1).tobytes() if full[0].marks else b"",
        brands=_joined([one.brands for one in full]),
        categories=_joined([one.categories for one in full]),
    )


def marks_of(hits: Hits) -> Mask:
    """Which of the conditions [C] each product fulfils, [C, K]."""
    count = len(hits.scores)
    found: Mask = np.frombuffer(hits.marks, np.bool_).reshape(-1, count) if count else np.zeros((0, 0), np.bool_)
    return found


def names_of(packed: str, count: int) -> list[str]:
    """The brands or categories of so many products; empty texts if none was asked for."""
    return packed.split("\0") if packed else [""] * count


def _joined(packed: Sequence[str]) -> str:
    return "\0".join(packed) if any(packed) else ""


def _taken(packed: str, places: Sequence[int]) -> str:
    if not packed:
        return ""
    values = packed.split("\0")
    return "\0".join([values[place] for place in places])


def _reordered(hits: Hits, order: Int64) -> retrieval_pb2.Reasons | None:
    if hits.reasons is None:
        return None
    rows = wire.unpack_scores(hits.reasons.contributions).reshape(len(hits.scores), -1)[order]
    return retrieval_pb2.Reasons(product_ids=hits.reasons.product_ids, contributions=rows.astype("<f4").tobytes())
