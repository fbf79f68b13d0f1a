"""Lists of what is bought regularly, and of what rises."""

from __future__ import annotations

from functools import partial

from gateway import habits
from gateway.clients.answers import Hits
from gateway.clients.deadline import Deadline
from gateway.pipeline.answers import ProductList
from gateway.pipeline.parts import Pipeline
from gateway.pipeline.queries import list_query, no_diversity
from gateway.pipeline.versions import on_one_version
from gateway.reasons import with_rules
from gateway.rules.facts import BuyerFacts, request_facts
from gateway.schemas.requests import (
    AgainQuery,
    TrendingQuery,
)
from twotower.pb import retrieval_pb2
from twotower.serving import wire


async def again(pipeline: Pipeline, query: AgainQuery, now_ms: int, deadline: Deadline) -> ProductList:
    """What the buyer of a stored history buys regularly, by the chance that it is bought soon, as the rules have it;
    dismissed products are left out.

    Raises Unavailable if the history cannot be read: an empty list would say that nothing is bought regularly.
    """
    known = await pipeline.read_history(query.owner, deadline)
    if known.failure and not known.history:
        raise known.failure

    async def attempt(version: str) -> ProductList:
        due, doubts = dict[str, retrieval_pb2.Due](), list[str]()

        async def ask(one: retrieval_pb2.Query) -> Hits:
            # further questions are about the version that has answered the first
            nonlocal version, doubts
            asked = retrieval_pb2.AgainQuery(query=one, now_ms=now_ms)
            found = await pipeline.retrieval.again(asked, version, deadline)
            version, doubts = found.hits.version, habits.doubts_of_again(found)
            due.update(zip(wire.unpack_ids(found.hits.packed_ids), found.due, strict=True))
            return found.hits

        asked = list_query(query, set(known.dismissed), history=known.history)
        asked.with_products = False
        facts = partial(BuyerFacts, query, known.history)
        ruled = await pipeline.ruled(
            query, asked, ask, ask, facts, deadline, lambda one: pipeline.popular_of(one, version, deadline)
        )
        listed = await pipeline.product_list(query, ruled, "again", [*doubts, *no_diversity(query)], deadline)
        if "reasons" not in query.include:
            return listed
        ids = wire.unpack_ids(ruled.hits.packed_ids)
        return listed._replace(reasons=with_rules(habits.reasons_of_again(ids, due, now_ms), ids, ruled.placed_by))

    return await on_one_version(attempt)


async def trending(pipeline: Pipeline, query: TrendingQuery, deadline: Deadline) -> ProductList:
    """The products that are rising against their own past, as the rules have them."""
    table, warnings = await pipeline.live_trending.table() if pipeline.live_trending else (None, [])

    async def attempt(version: str) -> ProductList:
        risen, counted = dict[str, tuple[float, float]](), list[retrieval_pb2.Counted]()

        async def ask(one: retrieval_pb2.Query) -> Hits:
            nonlocal version
            found = await pipeline.retrieval.trending(one, table, version, deadline)
            version = found.hits.version
            counted[:] = [found.counted] if found.counted else []
            figures = zip(found.buyers.tolist(), found.expected.tolist(), strict=True)
            risen.update(zip(wire.unpack_ids(found.hits.packed_ids), figures, strict=True))
            return found.hits

        asked = list_query(query, set())
        asked.with_products = False
        facts = partial(request_facts, query)
        ruled = await pipeline.ruled(
            query, asked, ask, ask, facts, deadline, lambda one: pipeline.popular_of(one, version, deadline)
        )
        doubts = [] if counted else ["this version knows of no past to compare with"]
        all_warnings = [*warnings, *doubts, *no_diversity(query)]
        listed = await pipeline.product_list(query, ruled, "trending", all_warnings, deadline)
        listed = listed._replace(counted=counted[0] if counted else None)
        if "reasons" not in query.include:
            return listed
        ids = wire.unpack_ids(ruled.hits.packed_ids)
        days = counted[0].window_days if counted else 0.0
        return listed._replace(reasons=with_rules(habits.reasons_of_rising(ids, risen, days), ids, ruled.placed_by))

    return await on_one_version(attempt)
