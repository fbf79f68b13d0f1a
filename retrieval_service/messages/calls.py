"""Answers a request with the products of one version."""

from __future__ import annotations

from collections.abc import Iterable

from retrieval_service.index import ProductIndex
from retrieval_service.messages.hits import pack_answers, pack_product, pack_together, shard_of
from retrieval_service.messages.queries import check_named, read_filter, read_queries
from retrieval_service.named import Named, named_first
from retrieval_service.query import Answer
from twotower.pb import retrieval_pb2
from twotower.serving import wire
from twotower.serving.telemetry import CALL_ROWS


def search(index: ProductIndex, version: str, request: retrieval_pb2.SearchRequest) -> retrieval_pb2.SearchResponse:
    """One list for each vector."""
    check_named(request)
    ranked = index.search_texts if request.by_text else index.search
    answers = ranked(wire.unpack(request.vectors), read_queries(request.queries))
    CALL_ROWS.labels("Search").inc(len(answers))
    if index.best_scores is not None:
        index.best_scores.count(_best_scores(request.queries, answers))
    answers = [_with_named(index, one, answer) for one, answer in zip(request.queries, answers, strict=True)]
    hits = pack_answers(index, request.queries, answers, request.packed)
    return retrieval_pb2.SearchResponse(hits=hits, model_version=version, shard=shard_of(index))


def popular(index: ProductIndex, version: str, request: retrieval_pb2.PopularRequest) -> retrieval_pb2.PopularResponse:
    """One list of popular products for each query."""
    answers = index.popular(read_queries(request.queries))
    CALL_ROWS.labels("Popular").inc(len(answers))
    hits = pack_answers(index, request.queries, answers, request.packed)
    return retrieval_pb2.PopularResponse(hits=hits, model_version=version, shard=shard_of(index))


def together(
    index: ProductIndex, version: str, request: retrieval_pb2.TogetherRequest
) -> retrieval_pb2.TogetherResponse:
    """One list for each cart."""
    carts = [list(one.product_ids) for one in request.queries]
    answers = index.together(read_queries(one.query for one in request.queries), carts)
    CALL_ROWS.labels("Together").inc(len(answers))
    hits = [pack_together(answer, request.packed) for answer in answers]
    return retrieval_pb2.TogetherResponse(hits=hits, model_version=version, shard=shard_of(index))


def lookup(index: ProductIndex, version: str, request: retrieval_pb2.LookupRequest) -> retrieval_pb2.LookupResponse:
    """The details of each product."""
    products = index.own_products(request.product_ids)
    CALL_ROWS.labels("Lookup").inc(len(products))
    return retrieval_pb2.LookupResponse(
        products=map(pack_product, request.product_ids, products), model_version=version, shard=shard_of(index)
    )


def vectors(index: ProductIndex, version: str, request: retrieval_pb2.VectorsRequest) -> retrieval_pb2.VectorsResponse:
    """The stored vectors of products."""
    stored = index.vectors(request.product_ids)
    CALL_ROWS.labels("Vectors").inc(len(stored.vectors))
    return retrieval_pb2.VectorsResponse(
        vectors=wire.pack(stored.vectors, version),
        unknown_product_ids=stored.unknown_product_ids,
        shard=shard_of(index),
    )


def _with_named(index: ProductIndex, query: retrieval_pb2.Query, answer: Answer) -> Answer:
    if not query.HasField("named"):
        return answer
    named = Named(query.named.ids, read_filter(query.named))
    return named_first(index, named, query.excluded_ids, query.k, answer)


def _best_scores(queries: Iterable[retrieval_pb2.Query], answers: Iterable[Answer]) -> list[float]:
    """The best scores of the lists for a buyer that may hold any product: those that the training has figures of."""
    return [
        float(answer.scores[0])
        for query, answer in zip(queries, answers, strict=True)
        if query.history and not query.HasField("filter") and not query.sort and len(answer.scores)
    ]
