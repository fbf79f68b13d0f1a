"""Lists for a buyer: the best products for a history, popular ones if there is none, and exploration."""

from __future__ import annotations

from functools import partial

from gateway import reasons
from gateway.clients.answers import EncodedBuyer, Hits
from gateway.clients.deadline import Deadline
from gateway.exploration import DEPTH, Exploration
from gateway.pipeline.answers import KnownBuyer, ProductList
from gateway.pipeline.parts import FIRST_SHARE, ListedQuery, Pipeline, explained
from gateway.pipeline.queries import MAX_K, list_query
from gateway.pipeline.versions import on_one_version
from gateway.reasons import Reason
from gateway.rules.facts import BuyerFacts, request_facts
from gateway.rules.serving import Facts
from gateway.schemas.requests import (
    PopularQuery,
    RetrieveQuery,
)
from twotower.errors import (
    DeadlineExceeded,
    InvalidInput,
    NotFound,
    TwoTowerError,
    Unavailable,
)
from twotower.pb import retrieval_pb2
from twotower.serving import wire


async def retrieve(pipeline: Pipeline, query: RetrieveQuery, deadline: Deadline, version: str = "") -> ProductList:
    """The best products for a buyer's stored history, or the popular ones if no history can be used.

    With a `version` it is of that one, or raises VersionNotHeld.
    """
    known = await pipeline.read_history(query.owner, deadline)
    seen = set(known.dismissed)
    if query.exclude_seen:
        seen.update(wire.unpack_columns(known.history)[0])

    async def attempt(version: str) -> ProductList:
        encoded, reason = await _encode(pipeline, query, known, version, deadline)
        if encoded is None:
            facts = partial(BuyerFacts, query, known.history)
            return await _popular(pipeline, query, seen, reason, version, deadline, facts)
        # a history of fifty interactions would double the message
        newest = wire.newest_interactions(known.history, encoded.newest)
        asked, explored = list_query(query, seen, history=newest), ""
        if encoded.parts is not None:
            asked.parts.CopyFrom(encoded.parts)
        # a sorted or a diverse list is a choice of its own
        explores = pipeline.exploration if query.sort == "relevance" and not query.diversity else None

        async def ask(one: retrieval_pb2.Query) -> Hits:
            return await pipeline.retrieval.search(encoded.vector, one, deadline)

        async def explore(exploration: Exploration, one: retrieval_pb2.Query) -> Hits:
            nonlocal explored
            length, one.k = one.k, min(one.k + DEPTH, MAX_K)
            # details are looked up for those that stay
            one.with_products = False
            hits, explored = exploration.mix(await ask(one), length)
            one.k = length
            return hits

        first = partial(explore, explores) if explores else ask
        ruled = await pipeline.ruled(query, asked, ask, first, lambda: BuyerFacts(query, known.history), deadline)
        if explored:
            shown = set(wire.unpack_ids(ruled.hits.packed_ids))
            explored = "\n".join(one for one in explored.split("\n") if one in shown)
        listed = pipeline.product_list(query, ruled, "model", reason, deadline)
        why = partial(reasons.of_history, pipeline.retrieval, encoded, ruled.hits, deadline)
        return (await explained(query, listed, why))._replace(explored=explored)

    return await (attempt(version) if version else on_one_version(attempt))


async def popular(pipeline: Pipeline, query: PopularQuery, deadline: Deadline) -> ProductList:
    """The most popular products."""
    return await on_one_version(lambda version: _popular(pipeline, query, set(), [], version, deadline))


async def _encode(
    pipeline: Pipeline, query: RetrieveQuery, known: KnownBuyer, version: str, deadline: Deadline
) -> tuple[EncodedBuyer | None, list[str]]:
    """The buyer encoded, or None for the popular products, and the warnings for the caller.

    With `fallback=none`, raises the failure instead, or NotFound if the buyer has no known history.
    """
    failure: TwoTowerError | None = known.failure
    warnings = [f"the buyer's history cannot be read: {failure}"] if failure else []
    if known.history:
        try:
            with_parts = "reasons" in query.include
            return await pipeline.buyers.encode(known.history, version, deadline.share(FIRST_SHARE), with_parts), []
        except (Unavailable, DeadlineExceeded) as error:
            failure = error
            warnings = [f"the buyer's history cannot be encoded: {error}"]
        except InvalidInput as error:
            # the history holds an event name that this version does not have
            warnings = [*warnings, f"the buyer's history cannot be encoded: {error}"]
        except NotFound:
            pass  # this version knows none of the history's products
    if query.fallback == "none":
        raise failure or NotFound(f"buyer {query.owner!r} has no known history", field="buyer_id")
    return None, warnings


async def _popular(
    pipeline: Pipeline,
    query: ListedQuery,
    seen: set[str],
    warnings: list[str],
    version: str,
    deadline: Deadline,
    facts: Facts | None = None,
) -> ProductList:
    async def ask(one: retrieval_pb2.Query) -> Hits:
        # further questions are about the version that has answered the first
        nonlocal version
        hits = await pipeline.retrieval.popular(one, version, deadline)
        version = hits.version
        return hits

    facts = facts or partial(request_facts, query)
    ruled = await pipeline.ruled(query, list_query(query, seen), ask, ask, facts, deadline)
    if query.diversity:
        warnings = [*warnings, "diversity has no effect on popular products"]
    found = pipeline.product_list(query, ruled, "popular", warnings, deadline)

    async def why() -> list[Reason]:
        return reasons.of_popularity(len(ruled.hits.scores))

    return await explained(query, found, why)
