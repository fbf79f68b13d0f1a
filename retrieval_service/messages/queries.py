"""Reads the queries of requests."""

from __future__ import annotations

from collections.abc import Iterable

from retrieval_service.query import NO_FILTER, Filter, Query, Sort
from retrieval_service.reasons import Parts
from twotower.errors import InvalidInput
from twotower.pb import retrieval_pb2
from twotower.search.diversity import candidates
from twotower.search.word_index import Word

# a short request: at most this many products wanted and excluded by a query, this many queries, and this many
# characters of histories, which take 4 ms if most of their products are unknown
_FEW, _FEW_QUERIES, _FEW_CHARACTERS = 200, 64, 512 << 10
# an expensive request: more comparisons of a candidate with a product chosen than this, which take about 5 ms
_MANY_COMPARISONS = 150_000
_SORTS: dict[int, Sort] = {
    retrieval_pb2.RELEVANCE: "relevance",
    retrieval_pb2.PRICE_ASC: "price_asc",
    retrieval_pb2.PRICE_DESC: "price_desc",
}


def is_short(request: retrieval_pb2.SearchRequest) -> bool:
    """True for few queries without filter, diversity and details, each for few products, and no long histories.

    For more products, an approximate index may have to scan all of them.
    """
    if len(request.queries) > _FEW_QUERIES or sum(len(one.history) for one in request.queries) > _FEW_CHARACTERS:
        return False
    return all(
        one.k + len(one.excluded_ids) <= _FEW
        and read_filter(one) == NO_FILTER
        and not one.diversity
        and not one.with_products
        for one in request.queries
    )


def is_expensive(request: retrieval_pb2.SearchRequest) -> bool:
    """True for long lists with diversity."""
    diverse = (one for one in request.queries if one.diversity)
    return sum(one.k * candidates(one.k, one.diversity) for one in diverse) > _MANY_COMPARISONS


def version_of(request: retrieval_pb2.SearchRequest) -> str:
    """The version whose vectors a request holds. Raises InvalidInput if it names none."""
    version = request.vectors.model_version
    if not version:
        raise InvalidInput(
            "vectors.model_version", version, "must name the version whose vector space the vectors lie in"
        )
    return version


def read_queries(messages: Iterable[retrieval_pb2.Query]) -> list[Query]:
    """The queries of a request."""
    return [
        Query(
            one.k,
            # a message gives new texts at each reading
            list(one.excluded_ids),
            read_filter(one),
            one.diversity,
            one.history,
            one.follows,
            [Word(word.text, word.weight, word.is_number, word.group) for word in one.words],
            _sort(one.sort),
            Parts(list(one.parts.product_ids), one.parts.data) if one.HasField("parts") else None,
            one.also,
            one.for_merge,
        )
        for one in messages
    ]


def read_filter(query: retrieval_pb2.Query | retrieval_pb2.Named) -> Filter:
    """The filter of a query, which allows all products if the message has none."""
    if not query.HasField("filter"):
        return NO_FILTER
    message = query.filter
    return Filter(
        tuple(message.categories),
        tuple(message.brands),
        message.in_stock if message.HasField("in_stock") else None,
        message.price_min if message.HasField("price_min") else None,
        message.price_max if message.HasField("price_max") else None,
        tuple(message.excluded_words),
        message.where,
    )


def check_named(request: retrieval_pb2.SearchRequest) -> None:
    """Raises InvalidInput for a search by vector that names products."""
    if request.by_text:
        return
    for place, one in enumerate(request.queries):
        if one.HasField("named"):
            raise InvalidInput(
                f"queries[{place}].named", list(one.named.ids), "has an effect on a search by text alone"
            )


def _sort(value: int) -> Sort:
    if value not in _SORTS:
        raise InvalidInput("sort", value, "is no order that this service knows")
    return _SORTS[value]
