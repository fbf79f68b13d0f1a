"""The answers to Again and Trending: products that the version, or the live log, ranks without a vector."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from retrieval_service.index import ProductIndex
from retrieval_service.lists.again import Due
from retrieval_service.lists.rising import RisingTable, read_table
from retrieval_service.messages.hits import pack_merge, shard_of
from retrieval_service.query import Answer, Query
from twotower.artifact.lists import Counted
from twotower.caller import check_caller
from twotower.pb import retrieval_pb2
from twotower.serving import wire
from twotower.serving.telemetry import CALL_ROWS


def again(
    index: ProductIndex, version: str, queries: Sequence[Query], now_ms: Sequence[int]
) -> retrieval_pb2.AgainResponse:
    """One list for each query's history, as of its own time."""
    hits = []
    for query, now in zip(queries, now_ms, strict=True):
        check_caller()
        found = index.again.rank(query.history, now, index.categories_of)
        answer = index.ranked(found.product_ids, found.chances, query)
        due = [_due(found.due[one]) for one in answer.product_ids]
        hits.append(retrieval_pb2.AgainHits(hits=_hits(answer), due=due, missing=found.missing.name))
    CALL_ROWS.labels("Again").inc(len(hits))
    return retrieval_pb2.AgainResponse(hits=hits, model_version=version, shard=shard_of(index))


def trending(
    index: ProductIndex, version: str, queries: Sequence[Query], given: retrieval_pb2.RisingTable | None
) -> retrieval_pb2.TrendingResponse:
    """One list for each query, of the table `given`, or else of what the training counted."""
    table = index.rising if given is None else _table(given)
    scores, buyers, expected = table.figures
    places = {one: place for place, one in enumerate(table.product_ids)}
    hits = []
    for query in queries:
        check_caller()
        answer = index.ranked(table.product_ids, scores, query)
        listed = [places[one] for one in answer.product_ids]
        hits.append(
            retrieval_pb2.TrendingHits(
                hits=_hits(answer),
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


def _hits(answer: Answer) -> retrieval_pb2.Hits:
    hits = retrieval_pb2.Hits(
        packed_product_ids=wire.pack_ids(answer.product_ids),
        scores=wire.pack_scores(np.asarray(answer.scores, np.float32)),
        unknown_filter_values=answer.unknown_filter_values,
    )
    pack_merge(hits, answer.merge)
    return hits
