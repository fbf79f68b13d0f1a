"""Hits in another order, and several hits as one: all that belongs to a product moves with it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gateway.clients.answers import Hits
from twotower.arrays import Int64
from twotower.pb import retrieval_pb2
from twotower.serving import wire


def take(hits: Hits, order: Int64) -> Hits:
    """The hits at these places, in this order; none of them counts as one of `also`."""
    ids = wire.unpack_ids(hits.packed_ids)
    return hits._replace(
        packed_ids=wire.pack_ids([ids[place] for place in order.tolist()]),
        scores=hits.scores[order],
        reasons=_reordered(hits, order),
        marks=_taken(hits.marks, len(ids), order),
        brand_codes=_taken(hits.brand_codes, len(ids), order),
        category_codes=_taken(hits.category_codes, len(ids), order),
        also=0,
        products=[hits.products[place] for place in order.tolist()] if hits.products else [],
    )


def join(parts: Sequence[Hits]) -> Hits:
    """All products of several answers to one question, whose `marks` and `reasons` have the same conditions and parts.

    What is said of an answer as a whole is what the first one says. A product that stands in several is there as often.
    """
    first, full = parts[0], [one for one in parts if len(one.scores)]
    if not full:
        return first
    return first._replace(
        packed_ids="\0".join(one.packed_ids for one in full),
        scores=np.concatenate([one.scores for one in full]),
        reasons=_joined([one.reasons for one in full]),
        marks=_joined_marks(full),
        brand_codes=b"".join(one.brand_codes for one in full),
        category_codes=b"".join(one.category_codes for one in full),
        products=[product for one in full for product in one.products],
    )


def marks_of(hits: Hits) -> list[int]:
    """For each product the bits of the conditions that are true of it, 0 if none was asked for."""
    count = len(hits.scores)
    if not hits.marks:
        return [0] * count
    width, marks = len(hits.marks) // count, hits.marks
    if width in (1, 2, 4, 8):
        single: list[int] = np.frombuffer(marks, f"<u{width}").tolist()
        return single
    return [int.from_bytes(marks[start : start + width], "little") for start in range(0, len(marks), width)]


def codes_of(packed: bytes) -> list[int]:
    """Codes of brands or categories, one a product."""
    codes: list[int] = np.frombuffer(packed, "<i4").tolist()
    return codes


def _taken(packed: bytes, count: int, order: Int64) -> bytes:
    return np.frombuffer(packed, np.uint8).reshape(count, -1)[order].tobytes() if packed else b""


def _joined_marks(parts: Sequence[Hits]) -> bytes:
    width = max(len(one.marks) // len(one.scores) for one in parts)
    return b"".join(one.marks or bytes(width * len(one.scores)) for one in parts)


def _joined(reasons: Sequence[retrieval_pb2.Reasons | None]) -> retrieval_pb2.Reasons | None:
    known = [one for one in reasons if one is not None]
    if len(known) < len(reasons):
        return None
    rows = b"".join(one.contributions for one in known)
    return retrieval_pb2.Reasons(product_ids=known[0].product_ids, contributions=rows)


def _reordered(hits: Hits, order: Int64) -> retrieval_pb2.Reasons | None:
    if hits.reasons is None:
        return None
    rows = wire.unpack_scores(hits.reasons.contributions).reshape(len(hits.scores), -1)[order]
    return retrieval_pb2.Reasons(product_ids=hits.reasons.product_ids, contributions=rows.astype("<f4").tobytes())
