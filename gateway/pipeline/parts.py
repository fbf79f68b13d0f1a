"""The parts that all flows work with, and the steps that several flows share."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from gateway import reasons
from gateway.clients.answers import Hits
from gateway.clients.buyer_client import BuyerClient
from gateway.clients.deadline import Deadline
from gateway.clients.item_client import ItemClient
from gateway.clients.retrieval import Retrieval
from gateway.exploration import Exploration
from gateway.history.codec import split_dismissed
from gateway.history.event_log import EventLog
from gateway.history.known_products import KnownProducts
from gateway.history.redis_history import NOT_LOADED
from gateway.history.store import HistoryStore
from gateway.live_trending import LiveTrending
from gateway.pipeline.answers import KnownBuyer, ProductList, Source
from gateway.reasons import Reason
from gateway.rules.engine import Ask, Asking, Ruled
from gateway.rules.serving import Facts, LiveRules
from gateway.schemas.requests import (
    AgainQuery,
    CompleteBody,
    ListQuery,
    RetrieveQuery,
    VisitedQuery,
)
from twotower.errors import (
    DeadlineExceeded,
    Unavailable,
)
from twotower.event_log import owner_of
from twotower.pb import retrieval_pb2
from twotower.serving import wire

# a history or a buyer's vector may take this share of the time left: the popular products need the rest
FIRST_SHARE = 0.5
ListedQuery = RetrieveQuery | AgainQuery | VisitedQuery


@dataclass(frozen=True)
class Pipeline:
    """What the flows work with, and the steps that several of them share.

    A flow keeps within its request's `deadline` and raises errors of `twotower.errors`.
    """

    history: HistoryStore
    items: ItemClient
    buyers: BuyerClient
    retrieval: Retrieval
    known: KnownProducts
    history_size: int
    forgotten_file: Path | None = None
    log: EventLog | None = None
    exploration: Exploration | None = None
    rules: LiveRules | None = None
    live_trending: LiveTrending | None = None

    async def read_history(self, buyer_id: str, deadline: Deadline) -> KnownBuyer:
        try:
            history = await self.history.read(buyer_id, deadline.share(FIRST_SHARE))
        except (Unavailable, DeadlineExceeded) as error:
            return KnownBuyer("", [], error)
        failure = None if self.history.is_loaded else Unavailable(NOT_LOADED)
        return KnownBuyer(*split_dismissed(history), failure)

    async def ruled(
        self,
        query: ListedQuery,
        asked: retrieval_pb2.Query,
        ask: Ask,
        first: Ask,
        facts: Facts,
        deadline: Deadline,
        any_product: Ask | None = None,
    ) -> Ruled:
        """What the retrieval service finds, as the rules have it."""
        if self.rules is None:
            return Ruled(await first(asked))
        return await self.rules.find(
            query.slot,
            _owner(query),
            Asking(asked, ask, first, lambda ids: self.retrieval.lookup_reachable(ids, "", deadline), any_product),
            facts,
            deadline,
        )

    async def popular_of(self, query: retrieval_pb2.Query, version: str, deadline: Deadline) -> Hits:
        """Any products of one version within the query's limits, for lists that hold only some."""
        query.ClearField("history")
        return await self.retrieval.popular(query, version, deadline)

    async def product_list(
        self, query: ListQuery, ruled: Ruled, source: Source, warnings: list[str], deadline: Deadline
    ) -> ProductList:
        hits = ruled.hits
        warnings = [*warnings, *ruled.warnings, *(f"no product has {value}" for value in hits.unknown_filter_values)]
        if hits.missing_shards:
            numbers = ", ".join(map(str, hits.missing_shards))
            warnings.append(f"a part of the catalogue cannot be reached: shard {numbers}")
        products = None
        if "products" in query.include:
            products = (await self.detailed(ruled, deadline)).hits.products
        return ProductList(hits, source, warnings, products, placed_by=ruled.placed_by)

    async def detailed(self, ruled: Ruled, deadline: Deadline) -> Ruled:
        """The list with the details of its products, which are looked up if they did not come with it."""
        hits = ruled.hits
        if hits.products or not len(hits.scores):
            return ruled
        products = await self.retrieval.lookup(wire.unpack_ids(hits.packed_ids), hits.version, deadline)
        return ruled._replace(hits=hits._replace(products=products))

    async def note_shown(self, query: ListedQuery, answer: ProductList) -> None:
        """Notes what a list has shown, for the rules that ask for it."""
        if self.rules is not None:
            ids = partial(wire.unpack_ids, answer.hits.packed_ids)
            await self.rules.note_shown(query.slot, _owner(query), ids)


async def explained(
    query: ListQuery, found: Awaitable[ProductList], explain: Callable[[], Awaitable[list[Reason]]]
) -> ProductList:
    """The list, with its reasons if the query asks for them; both are looked up at the same time."""
    if "reasons" not in query.include:
        return await found
    listed, why = await asyncio.gather(found, explain())
    if listed.placed_by:
        why = reasons.with_rules(why, wire.unpack_ids(listed.hits.packed_ids), listed.placed_by)
    return listed._replace(reasons=why)


def _owner(query: ListedQuery) -> str | None:
    """Whose list it is; None if nobody is named."""
    if isinstance(query, RetrieveQuery | AgainQuery):
        return query.owner
    if isinstance(query, CompleteBody):
        return owner_of(query.buyer_id, query.session_id) if query.buyer_id or query.session_id else None
    return None if query.session_id is None else owner_of(None, query.session_id)
