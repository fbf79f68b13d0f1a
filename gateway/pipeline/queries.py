"""Queries to the retrieval service."""

from __future__ import annotations

from gateway.schemas.requests import (
    ListQuery,
)
from twotower.pb import item_pb2, retrieval_pb2

# the longest list that the retrieval service gives
MAX_K = 1000
_SORTS = {
    "relevance": retrieval_pb2.RELEVANCE,
    "price_asc": retrieval_pb2.PRICE_ASC,
    "price_desc": retrieval_pb2.PRICE_DESC,
}


def list_query(query: ListQuery, seen: set[str], history: str = "", follows: str = "") -> retrieval_pb2.Query:
    asked = retrieval_pb2.Query(
        k=query.k,
        excluded_ids=[*query.exclude, *sorted(seen)],
        diversity=query.diversity,
        history=history,
        follows=follows,
        sort=_SORTS[query.sort],
        with_products="products" in query.include,
    )
    limits = {name: getattr(query, name) for name in ("in_stock", "price_min", "price_max")}
    given = {name: value for name, value in limits.items() if value is not None}
    if query.category or query.brand or given:
        asked.filter.CopyFrom(retrieval_pb2.Filter(categories=query.category, brands=query.brand, **given))
    return asked


def as_understood(asked: retrieval_pb2.Query, understood: item_pb2.Understood) -> retrieval_pb2.Query:
    """The query with the words to look for and the filters that its words hold; narrower limits of the caller count."""
    asked.words.extend(
        retrieval_pb2.Word(text=one.text, weight=one.weight, is_number=one.is_number, group=one.group)
        for one in understood.words
    )
    if understood.excluded_words:
        asked.filter.excluded_words.extend(understood.excluded_words)
    if understood.HasField("price_min"):
        given = asked.filter.price_min if asked.filter.HasField("price_min") else understood.price_min
        asked.filter.price_min = max(given, understood.price_min)
    if understood.HasField("price_max"):
        given = asked.filter.price_max if asked.filter.HasField("price_max") else understood.price_max
        asked.filter.price_max = min(given, understood.price_max)
    return asked


def needs_details(query: ListQuery) -> bool:
    """Whether the details of products are shown, or said to be the reasons."""
    return "products" in query.include or "reasons" in query.include


def no_diversity(query: ListQuery) -> list[str]:
    return ["diversity has no effect on this list"] if query.diversity else []
