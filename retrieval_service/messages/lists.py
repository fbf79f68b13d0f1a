"""The answers to Again and Trending: products that the version, or the live log, ranks without a vector."""

from __future__ import annotations

from collections.abc import Sequence

from retrieval_service.index import ProductIndex
from retrieval_service.lists.again import Due
from retrieval_service.lists.rising import RisingTable, read_table
from retrieval_service.messages.hits import pack_answers, shard_of
from retrieval_service.query import Query
from twotower.artifact.lists import Counted
from twotower.caller import check_caller
from twotower.pb import retrieval_pb2
from twotower.serving import wire
from twotower.serving.telemetry import CALL_ROWS


def again(
    index: ProductIndex, version: str, request: retrieval_pb2.AgainRequest, queries: Sequence[Query]
) -> retrieval_pb2.AgainResponse:
    """One list for each query's history, as of its own time. `queries`: those of the request."""
    regular, answers = [], []
    for query, asked in zip(queries, request.queries, strict=True):
        check_caller()
        found = index.again.rank(query.history, asked.now_ms, index.categories_of)
        regular.append(found)
        answers.append(index.ranked(found.product_ids, found.chances, query))
    packed = pack_answers(index, [one.query for one in request.queries], answers, packed=True)
    hits = [
        retrieval_pb2.AgainHits(
            hits=own, due=[_due(found.due[one]) for one in answer.product_ids], missing=found.missing.name
        )
        for own, found, answer in zip(packed, regular, answers, strict=True)
    ]
    CALL_ROWS.labels("Again").inc(len(hits))
    return retrieval_pb2.AgainResponse(hits=hits, model_version=version, shard=shard_of(index))


def trending(
    index: ProductIndex, version: str, request: retrieval_pb2.TrendingRequest, queries: Sequence[Query]
) -> retrieval_pb2.TrendingResponse:
    """One list for each of the request's `queries`, of the table that it gives, or of what the training counted."""
    table = _table(request.rising) if request.HasField("rising") else index.rising
    scores, buyers, expected = table.figures
    places = {one: place for place, one in enumerate(table.product_ids)}
    answers = []
    for query in queries:
        check_caller()
        answers.append(index.ranked(table.product_ids, scores, query))
    hits = []
    for own, answer in zip(pack_answers(index, request.queries, answers, packed=True), answers, strict=True):
        listed = [places[one] for one in answer.product_ids]
        hits.append(
            retrieval_pb2.TrendingHits(
                hits=own,
                buyers=wire.pack_scores(buyers[listed]),
                expected=wire.pack_scores(expected[listed]),
            )
        )
    CALL_ROWS.labels("Trending").inc(len(hits))
    counted = None if table.counted is None else retrieval_pb2.Counted(**table.counted.model_dump())
    return retrieval_pb2.TrendingResponse(hits=hits, model_version=version, counted=counted, shard=shard_of(index))


def _table(message: retrieval_pb2.RisingTable) -> RisingTable:
    counted = message.counted
    given = Counted(until_ms=counted.until_ms, window_days=counted.window_days, past_windows=counted.past_windows)
    return read_table(wire.unpack_ids(message.packed_product_ids), message.figures, given)


def _due(one: Due) -> retrieval_pb2.Due:
    usual, low, high = one.interval
    return retrieval_pb2.Due(last_ms=one.last_ms, times=one.times, usual_days=usual, low_days=low, high_days=high)
