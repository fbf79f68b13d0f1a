"""What conditions may ask of a request: its buyer's stored history, and its words or product."""

from __future__ import annotations

import time

from gateway.schemas.requests import ListQuery, RetrieveQuery, SearchQuery, SimilarQuery
from twotower.conditions import Fact
from twotower.serving import wire

_DAY_SECONDS = 86_400.0


def buyer_facts(query: RetrieveQuery, history: str) -> dict[str, Fact]:
    """Of a buyer or a guest and the packed history, oldest first, without dismissals."""
    products, events, times = wire.unpack_columns(history)
    facts: dict[str, Fact] = {
        "buyer.guest": query.buyer_id is None,
        "buyer.known": bool(products),
        "buyer.events": float(len(products)),
        "buyer.did": frozenset(events),
        "buyer.products": frozenset(products),
    }
    if query.buyer_id is not None:
        facts["buyer.id"] = query.buyer_id
    if times:
        facts["buyer.days_since"] = max(0.0, time.time() - times[-1] / 1000) / _DAY_SECONDS
    return facts


def request_facts(query: ListQuery) -> dict[str, Fact]:
    """Of a list that no history decides."""
    if isinstance(query, SearchQuery):
        return {"request.query": query.q}
    if isinstance(query, SimilarQuery):
        return {"request.product_id": query.product_id}
    return {}
