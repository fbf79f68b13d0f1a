"""Lists of what is bought regularly, and of what rises."""

from __future__ import annotations

from gateway import habits
from gateway.clients.deadline import Deadline
from gateway.pipeline.answers import ProductList
from gateway.pipeline.parts import Pipeline
from gateway.pipeline.queries import list_query, no_diversity
from gateway.pipeline.versions import on_one_version
from gateway.rules.engine import Ruled
from gateway.schemas.requests import (
    AgainQuery,
    TrendingQuery,
)
from twotower.pb import retrieval_pb2


async def again(pipeline: Pipeline, query: AgainQuery, now_ms: int, deadline: Deadline) -> ProductList:
    """What the buyer of a stored history buys regularly, by the chance that it is bought soon; dismissed products
    are left out.

    Raises Unavailable if the history cannot be read: an empty list would say that nothing is bought regularly.
    """
    known = await pipeline.read_history(query.owner, deadline)
    if known.failure and not known.history:
        raise known.failure
    asked = retrieval_pb2.AgainQuery(
        query=list_query(query, set(known.dismissed), history=known.history), now_ms=now_ms
    )

    async def attempt(version: str) -> ProductList:
        found = await pipeline.retrieval.again(asked, version, deadline)
        warnings = [*habits.doubts_of_again(found), *no_diversity(query)]
        listed = await pipeline.product_list(query, Ruled(found.hits), "again", warnings, deadline)
        why = habits.reasons_of_again(found, now_ms) if "reasons" in query.include else None
        return listed._replace(reasons=why)

    return await on_one_version(attempt)


async def trending(pipeline: Pipeline, query: TrendingQuery, deadline: Deadline) -> ProductList:
    """The products that are rising against their own past."""
    table, warnings = await pipeline.live_trending.table() if pipeline.live_trending else (None, [])

    async def attempt(version: str) -> ProductList:
        found = await pipeline.retrieval.trending(list_query(query, set()), table, version, deadline)
        doubts = [] if found.counted else ["this version knows of no past to compare with"]
        all_warnings = [*warnings, *doubts, *no_diversity(query)]
        listed = await pipeline.product_list(query, Ruled(found.hits), "trending", all_warnings, deadline)
        why = habits.reasons_of_rising(found) if "reasons" in query.include else None
        return listed._replace(reasons=why, counted=found.counted)

    return await on_one_version(attempt)
