"""What conditions may ask of a request: its buyer's stored history, and its words or product."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping

from gateway.schemas.requests import (
    AgainQuery,
    CompleteBody,
    ListQuery,
    RetrieveQuery,
    SearchQuery,
    SimilarQuery,
    TogetherQuery,
)
from twotower.conditions.language import FACTS, Fact
from twotower.serving import wire

_DAY_SECONDS = 86_400.0
# lists of a buyer whose history is read
BuyersQuery = RetrieveQuery | AgainQuery | CompleteBody


class BuyerFacts(Mapping[str, Fact]):
    """Of a buyer or a guest and the packed history, oldest first, without dismissals. Each is worked out when asked."""

    def __init__(self, query: BuyersQuery, history: str) -> None:
        self._query, self._history = query, history

    def __getitem__(self, name: str) -> Fact:
        fact = _FACTS[name](self._query, self._history) if name in _FACTS else None
        if fact is None:
            raise KeyError(name)
        return fact

    def __iter__(self) -> Iterator[str]:
        return (name for name in FACTS if name in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def request_facts(query: ListQuery) -> dict[str, Fact]:
    """Of a list that no history decides."""
    if isinstance(query, SearchQuery):
        return {"request.query": query.q}
    if isinstance(query, SimilarQuery | TogetherQuery):
        return {"request.product_id": query.product_id}
    if isinstance(query, CompleteBody):
        return {"request.product_id": frozenset(query.cart)}
    return {}


def _count(history: str) -> int:
    return history.count(wire.SEPARATOR) + 1 if history else 0


def _days_since(history: str) -> float | None:
    if not history:
        return None
    newest = int(history.rpartition("\0")[2])
    return max(0.0, time.time() - newest / 1000) / _DAY_SECONDS


_FACTS: Mapping[str, Callable[[BuyersQuery, str], Fact | None]] = {
    "request.product_id": lambda query, _: request_facts(query).get("request.product_id"),
    "buyer.id": lambda query, _: query.buyer_id,
    "buyer.guest": lambda query, _: query.buyer_id is None,
    "buyer.known": lambda _, history: bool(history),
    "buyer.events": lambda _, history: float(_count(history)),
    "buyer.days_since": lambda _, history: _days_since(history),
    "buyer.did": lambda _, history: frozenset(wire.unpack_columns(history)[1]),
    "buyer.products": lambda _, history: frozenset(wire.unpack_columns(history)[0]),
}
