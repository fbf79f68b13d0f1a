"""From a checked request to its answer: history, vector, products. One model version gives the whole answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Literal, NamedTuple, TypeVar

from gateway import habits, metrics, reasons
from gateway.clients.deadline import Deadline
from gateway.clients.services import (
    BuyerClient,
    EncodedBuyer,
    Hits,
    ItemClient,
    RetrievalClient,
    Suggestions,
    Vector,
)
from gateway.exploration import DEPTH, Exploration
from gateway.history.codec import MERGED_PREFIX, split_dismissed, split_known
from gateway.history.connection import Command
from gateway.history.event_log import EventLog
from gateway.history.known_products import KnownProducts
from gateway.history.redis_history import NOT_LOADED
from gateway.history.store import HistoryStore
from gateway.live_trending import LiveTrending
from gateway.named_product import named_ids
from gateway.reasons import Reason
from gateway.rules.engine import Ask, Asking, Ruled
from gateway.rules.facts import BuyerFacts, request_facts
from gateway.rules.serving import Facts, LiveRules
from gateway.schemas.requests import (
    AgainQuery,
    CompleteBody,
    ListQuery,
    PopularQuery,
    RetrieveQuery,
    SearchQuery,
    SimilarQuery,
    SuggestQuery,
    TogetherQuery,
    TrendingQuery,
    VisitedQuery,
)
from twotower.errors import (
    Conflict,
    DeadlineExceeded,
    InvalidInput,
    NotConfigured,
    NotFound,
    Overloaded,
    TwoTowerError,
    Unavailable,
    VersionNotHeld,
)
from twotower.event_log import InteractionRecord, MergeRecord, owner_of
from twotower.events import Interaction
from twotower.experiments import Assignment
from twotower.forgotten import buyer_hash, forget_buyer
from twotower.history import latest
from twotower.pb import item_pb2, retrieval_pb2
from twotower.serving import wire

log = logging.getLogger(__name__)

# a history or a buyer's vector may take this share of the time left: the popular products need the rest
_FIRST_SHARE = 0.5
# how long a session that was merged into one buyer cannot be merged into another
_MERGED_SECONDS = 90 * 86_400
Answer = TypeVar("Answer")
Source = Literal["model", "popular", "again", "trending", "together"]
ListedQuery = RetrieveQuery | AgainQuery | VisitedQuery
# the longest list that the retrieval service gives
_MAX_K = 1000
_SORTS = {
    "relevance": retrieval_pb2.RELEVANCE,
    "price_asc": retrieval_pb2.PRICE_ASC,
    "price_desc": retrieval_pb2.PRICE_DESC,
}


class ProductList(NamedTuple):
    """A list of products; `products` holds their details if the caller asked for them."""

    hits: Hits
    source: Source
    warnings: list[str]
    products: list[retrieval_pb2.Product] | None
    # of a search: how its words were understood
    understood: item_pb2.Understood | None = None
    # one per product, if the caller asked for them
    reasons: list[Reason] | None = None
    # the products that exploration put in, one a line
    explored: str = ""
    # of an experiment: its arm
    assignment: Assignment | None = None
    # product -> the rule that moved it to its place
    placed_by: Mapping[str, str] = MappingProxyType({})
    # of rising products: when buyers were counted
    counted: retrieval_pb2.Counted | None = None


class BuyerEncoding(NamedTuple):
    """A buyer's vector, and how many interactions were stored."""

    encoded: EncodedBuyer
    stored: int
    warnings: list[str]


class Added(NamedTuple):
    """How many interactions were stored, and the products that the served version does not know."""

    stored: int
    unknown_product_ids: list[str]
    warnings: list[str]


class KnownBuyer(NamedTuple):
    """A buyer's stored history, oldest first, packed, and the dismissed products; or why there is none."""

    history: str
    dismissed: list[str]
    failure: TwoTowerError | None


@dataclass(frozen=True)
class Pipeline:
    """The flows behind the routes, each within the request's `deadline`. They raise errors of `twotower.errors`."""

    history: HistoryStore
    items: ItemClient
    buyers: BuyerClient
    retrieval: RetrievalClient
    known: KnownProducts
    history_size: int
    forgotten_file: Path | None = None
    log: EventLog | None = None
    exploration: Exploration | None = None
    rules: LiveRules | None = None
    live_trending: LiveTrending | None = None

    async def encode_buyer(self, buyer_id: str, given: Sequence[Interaction], deadline: Deadline) -> BuyerEncoding:
        """Encodes exactly these interactions (the latest N, each once), then stores them.

        Products that the model does not know are skipped and named, but also stored, apart from the others: the next
        version may know them.
        Raises InvalidInput, and stores nothing, if it knows none of the products or does not know an event.
        """
        interactions = latest(list(set(given)), self.history_size)
        try:
            packed = wire.pack_history(interactions)
            encoded = await self.buyers.encode(packed, "", deadline)
        except NotFound:
            metrics.interactions("unknown_product").inc(len(interactions))
            products = list(dict.fromkeys(one.product_id for one in interactions))
            problem = "none of these products is known to the model; nothing was stored"
            raise InvalidInput("recent_interactions", products, problem) from None
        except InvalidInput as error:
            raise _of_row(error, given) from None
        _count_products([one.product_id for one in interactions], set(encoded.unknown_product_ids))
        warnings = []
        if len(interactions) < len(given):
            warnings.append(f"{len(interactions)} of {len(given)} interactions count: the latest, each once")
        try:
            addition = split_known(buyer_id, interactions, set(encoded.unknown_product_ids))
            logged = self.log.encoded(buyer_id, packed) if self.log else []
            stored = await self.history.add([addition], deadline, logged)
            if self.log:
                self.log.remember(buyer_id, packed)
        except (Unavailable, DeadlineExceeded) as error:
            stored = 0
            warnings.append(f"nothing was stored: {error}")
        return BuyerEncoding(encoded, stored, warnings)

    async def add(self, records: Sequence[InteractionRecord], deadline: Deadline) -> Added:
        """Stores interactions of any number of buyers, all or none, and logs them.

        Interactions with unknown products are kept apart. So are those that the retrieval service cannot check in time.
        Raises Unavailable if Redis is down or the log is full: then none was stored.
        """
        by_buyer: dict[str, list[Interaction]] = {}
        for one in records:
            interaction = Interaction(one.product_id, one.event_type, one.timestamp_ms)
            by_buyer.setdefault(one.owner, []).append(interaction)
        warnings = []
        products = dict.fromkeys(one.product_id for one in records)
        try:
            unknown = await self.known.find_unknown(products, deadline.share(_FIRST_SHARE))
            named = [one for one in products if one in unknown]
            _count_products([one.product_id for one in records], unknown)
        except (Unavailable, DeadlineExceeded, Overloaded) as error:
            unknown, named = set(products), []
            warnings.append(f"kept apart from the histories until a version is loaded that knows them: {error}")
        additions = [split_known(buyer_id, given, unknown) for buyer_id, given in by_buyer.items()]
        logged = self.log.interactions(records) if self.log else []
        return Added(await self.history.add(additions, deadline, logged), named, warnings)

    async def merge(self, buyer_id: str, session_id: str, now_ms: int) -> int:
        """Makes a guest's history part of a buyer's. Returns how many interactions of the guest are kept.

        The same request may come again: it moves what the guest did meanwhile. Raises Conflict if the session belongs
        to another buyer, Unavailable if Redis is down or the log is full.
        """
        redis, key, owner = self.history.redis, MERGED_PREFIX + session_id, buyer_hash(buyer_id)
        logged: list[Command] = []
        if self.log:
            logged = self.log.merge(MergeRecord(session_id, buyer_id, now_ms))
        _, holder = await redis.ask(key, [("SET", key, owner, "NX", "EX", _MERGED_SECONDS), ("GET", key)])
        if holder != owner.encode():
            raise Conflict(f"the session {session_id!r} was merged into another buyer")
        return await redis.move(owner_of(None, session_id), buyer_id, logged)

    async def forget(self, buyer_id: str) -> bool:
        """Puts the buyer on the list of forgotten ones, then removes the history. Returns whether there was one.

        Raises Unavailable if either fails; the caller may ask again. Raises NotConfigured if there is no list: a
        removal that the next loading of histories undoes is none.
        """
        if self.forgotten_file is None:
            raise NotConfigured("this gateway keeps no list of forgotten buyers: set TWOTOWER_GATEWAY_FORGOTTEN_FILE")
        try:
            await asyncio.to_thread(forget_buyer, self.forgotten_file, buyer_id)
        except OSError as error:
            log.error("the list of forgotten buyers cannot be written: %s", error)
            raise Unavailable("the list of forgotten buyers cannot be written") from None
        return bool(await self.history.redis.remove([buyer_id]))

    async def retrieve(self, query: RetrieveQuery, deadline: Deadline, version: str = "") -> ProductList:
        """The best products for a buyer's stored history, or the popular ones if no history can be used.

        With a `version` it is of that one, or raises VersionNotHeld.
        """
        known = await self._read(query.owner, deadline)
        seen = set(known.dismissed)
        if query.exclude_seen:
            seen.update(wire.unpack_columns(known.history)[0])

        async def attempt(version: str) -> ProductList:
            encoded, reason = await self._encode(query, known, version, deadline)
            if encoded is None:
                facts = partial(BuyerFacts, query, known.history)
                return await self._popular(query, seen, reason, version, deadline, facts)
            # a history of fifty interactions would double the message
            newest = wire.newest_interactions(known.history, encoded.newest)
            asked, explored = _query(query, seen, history=newest), ""
            if encoded.parts is not None:
                asked.parts.CopyFrom(encoded.parts)
            # a sorted or a diverse list is a choice of its own
            explores = self.exploration if query.sort == "relevance" and not query.diversity else None

            async def ask(one: retrieval_pb2.Query) -> Hits:
                return await self.retrieval.search(encoded.vector, one, deadline)

            async def explore(exploration: Exploration, one: retrieval_pb2.Query) -> Hits:
                nonlocal explored
                length, one.k = one.k, min(one.k + DEPTH, _MAX_K)
                # details are looked up for those that stay
                one.with_products = False
                hits, explored = exploration.mix(await ask(one), length)
                one.k = length
                return hits

            first = partial(explore, explores) if explores else ask
            ruled = await self._ruled(query, asked, ask, first, lambda: BuyerFacts(query, known.history), deadline)
            if explored:
                shown = set(wire.unpack_ids(ruled.hits.packed_ids))
                explored = "\n".join(one for one in explored.split("\n") if one in shown)
            listed = self._list(query, ruled, "model", reason, deadline)
            why = partial(reasons.of_history, self.retrieval, encoded, ruled.hits, deadline)
            return (await _explained(query, listed, why))._replace(explored=explored)

        return await (attempt(version) if version else on_one_version(attempt))

    async def popular(self, query: PopularQuery, deadline: Deadline) -> ProductList:
        """The most popular products."""
        return await on_one_version(lambda version: self._popular(query, set(), [], version, deadline))

    async def again(self, query: AgainQuery, now_ms: int, deadline: Deadline) -> ProductList:
        """What the buyer of a stored history buys regularly, by the chance that it is bought soon; dismissed products
        are left out.

        Raises Unavailable if the history cannot be read: an empty list would say that nothing is bought regularly.
        """
        known = await self._read(query.owner, deadline)
        if known.failure and not known.history:
            raise known.failure
        asked = retrieval_pb2.AgainQuery(
            query=_query(query, set(known.dismissed), history=known.history), now_ms=now_ms
        )

        async def attempt(version: str) -> ProductList:
            found = await self.retrieval.again(asked, version, deadline)
            warnings = [*habits.doubts_of_again(found), *_no_diversity(query)]
            listed = await self._list(query, Ruled(found.hits), "again", warnings, deadline)
            why = habits.reasons_of_again(found, now_ms) if "reasons" in query.include else None
            return listed._replace(reasons=why)

        return await on_one_version(attempt)

    async def trending(self, query: TrendingQuery, deadline: Deadline) -> ProductList:
        """The products that are rising against their own past."""
        table, warnings = await self.live_trending.table() if self.live_trending else (None, [])

        async def attempt(version: str) -> ProductList:
            found = await self.retrieval.trending(_query(query, set()), table, version, deadline)
            doubts = [] if found.counted else ["this version knows of no past to compare with"]
            all_warnings = [*warnings, *doubts, *_no_diversity(query)]
            listed = await self._list(query, Ruled(found.hits), "trending", all_warnings, deadline)
            why = habits.reasons_of_rising(found) if "reasons" in query.include else None
            return listed._replace(reasons=why, counted=found.counted)

        return await on_one_version(attempt)

    async def similar(self, query: SimilarQuery, deadline: Deadline) -> ProductList:
        """The products nearest to a product, or those that buyers take after it; never itself.

        Raises NotFound if the model does not know it.
        """
        follows = query.product_id if query.by == "sequence" else ""

        async def attempt(version: str) -> ProductList:
            vector = await self.retrieval.vector(query.product_id, version, deadline)
            if vector is None:
                raise NotFound(f"product {query.product_id!r} is not known", field="product_id")

            async def ask(one: retrieval_pb2.Query) -> Hits:
                return await self.retrieval.search(vector, one, deadline)

            asked = _query(query, {query.product_id}, follows=follows)
            asked.with_products = _needs_details(query)
            ruled = await self._ruled(query, asked, ask, ask, lambda: request_facts(query), deadline)
            ruled = await self._detailed(ruled, deadline) if _needs_details(query) else ruled
            found = self._list(query, ruled, "model", _doubts(query, vector, ruled.hits), deadline)
            why = partial(reasons.of_product, self.retrieval, query.product_id, ruled.hits, ruled.followers(), deadline)
            return await _explained(query, found, why)

        return await on_one_version(attempt)

    async def together(self, query: TogetherQuery | CompleteBody, deadline: Deadline) -> ProductList:
        """What is bought together with a product, or completes a cart; never a product of the cart.

        Popular products fill a list that has too few. Raises NotFound if the model knows no product of the cart.
        """
        dismissed, failed = set[str](), list[str]()
        if isinstance(query, CompleteBody) and query.buyer_id is not None:
            known = await self._read(query.buyer_id, deadline)
            dismissed = set(known.dismissed)
            if known.failure:
                failed = [f"the products that the buyer dismissed cannot be read: {known.failure}"]

        async def attempt(version: str) -> ProductList:
            found = await self.retrieval.together(query.cart, _query(query, dismissed), version, deadline)
            if len(found.unknown) == len(query.cart):
                raise _unknown_cart(query)
            goes_with = sum(place >= 0 for place in found.because)
            warnings = [*failed, *_missing_complements(query, found.unknown, goes_with, len(found.because))]
            source: Source = "together" if goes_with else "popular"
            listed = self._list(query, Ruled(found.hits), source, warnings, deadline)
            why = partial(reasons.of_cart, self.retrieval, query.cart, found, deadline)
            return await _explained(query, listed, why)

        return await on_one_version(attempt)

    async def search(self, query: SearchQuery, deadline: Deadline, version: str = "") -> ProductList:
        """The products whose texts answer a text, as it is understood; first the one whose id the text is.

        With a `version` it is of that one, or raises VersionNotHeld.
        """
        typed = item_pb2.Query(text=query.q, raw=not query.understand)

        async def attempt(version: str) -> ProductList:
            try:
                vector, understood = await self.items.encode_query(typed, version, deadline)
            except InvalidInput as error:
                raise InvalidInput("q", query.q, f"cannot be encoded: {error.problem}") from None
            asked = _as_understood(_query(query, set()), understood)

            async def ask(one: retrieval_pb2.Query) -> Hits:
                return await self.retrieval.search_texts(vector, one, deadline)

            asked.with_products = _needs_details(query)
            filtered, ids = _query(query, set()).filter, named_ids(query)

            async def first(one: retrieval_pb2.Query) -> Hits:
                # whatever its words mean, the text may name a product
                if ids:
                    one.named.CopyFrom(retrieval_pb2.Named(ids=ids, filter=filtered))
                hits = await ask(one)
                one.ClearField("named")
                return hits

            ruled = await self._ruled(query, asked, ask, first, lambda: request_facts(query), deadline)
            ruled = await self._detailed(ruled, deadline) if _needs_details(query) else ruled
            hits = ruled.hits
            listed = self._list(query, ruled, "model", _misses(query, understood, hits), deadline)
            why = partial(reasons.of_words, understood, hits)
            return (await _explained(query, listed, why))._replace(understood=understood)

        return await (attempt(version) if version else on_one_version(attempt))

    async def suggest(self, query: SuggestQuery, deadline: Deadline) -> Suggestions:
        """Completions of what is typed so far."""
        return await self.items.suggest(query.q, query.k, deadline)

    async def stored(self, buyer_id: str, deadline: Deadline) -> list[Interaction]:
        """The buyer's stored interactions, newest first. Raises Unavailable if Redis is down."""
        columns = wire.unpack_columns(await self.history.read(buyer_id, deadline))
        return [Interaction(*one) for one in zip(*columns, strict=True)][::-1]

    async def products(self, product_ids: Sequence[str], deadline: Deadline) -> list[retrieval_pb2.Product]:
        """The details of each product, in order; `found` is false for one that the version does not hold."""
        return await self.retrieval.lookup(product_ids, "", deadline)

    async def _read(self, buyer_id: str, deadline: Deadline) -> KnownBuyer:
        try:
            history = await self.history.read(buyer_id, deadline.share(_FIRST_SHARE))
        except (Unavailable, DeadlineExceeded) as error:
            return KnownBuyer("", [], error)
        failure = None if self.history.is_loaded else Unavailable(NOT_LOADED)
        return KnownBuyer(*split_dismissed(history), failure)

    async def _encode(
        self, query: RetrieveQuery, known: KnownBuyer, version: str, deadline: Deadline
    ) -> tuple[EncodedBuyer | None, list[str]]:
        """The buyer encoded, or None for the popular products, and the warnings for the caller.

        With `fallback=none`, raises the failure instead, or NotFound if the buyer has no known history.
        """
        failure: TwoTowerError | None = known.failure
        warnings = [f"the buyer's history cannot be read: {failure}"] if failure else []
        if known.history:
            try:
                with_parts = "reasons" in query.include
                return await self.buyers.encode(known.history, version, deadline.share(_FIRST_SHARE), with_parts), []
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
        self,
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
            hits = await self.retrieval.popular(one, version, deadline)
            version = hits.version
            return hits

        facts = facts or partial(request_facts, query)
        ruled = await self._ruled(query, _query(query, seen), ask, ask, facts, deadline)
        if query.diversity:
            warnings = [*warnings, "diversity has no effect on popular products"]
        found = self._list(query, ruled, "popular", warnings, deadline)

        async def why() -> list[Reason]:
            return reasons.of_popularity(len(ruled.hits.scores))

        return await _explained(query, found, why)

    async def note_shown(self, query: ListedQuery, answer: ProductList) -> None:
        """Notes what a list has shown, for the rules that ask for it."""
        if self.rules is not None:
            ids = partial(wire.unpack_ids, answer.hits.packed_ids)
            await self.rules.note_shown(query.slot, _owner(query), ids)

    async def _ruled(
        self,
        query: ListedQuery,
        asked: retrieval_pb2.Query,
        ask: Ask,
        first: Ask,
        facts: Facts,
        deadline: Deadline,
    ) -> Ruled:
        """What the retrieval service finds, as the rules have it."""
        if self.rules is None:
            return Ruled(await first(asked))
        return await self.rules.find(
            query.slot,
            _owner(query),
            Asking(asked, ask, first, lambda ids: self.retrieval.lookup(ids, "", deadline)),
            facts,
            deadline,
        )

    async def _list(
        self, query: ListQuery, ruled: Ruled, source: Source, warnings: list[str], deadline: Deadline
    ) -> ProductList:
        hits = ruled.hits
        warnings = [*warnings, *ruled.warnings, *(f"no product has {value}" for value in hits.unknown_filter_values)]
        products = None
        if "products" in query.include:
            products = (await self._detailed(ruled, deadline)).hits.products
        return ProductList(hits, source, warnings, products, placed_by=ruled.placed_by)

    async def _detailed(self, ruled: Ruled, deadline: Deadline) -> Ruled:
        """The list with the details of its products, which are looked up if they did not come with it."""
        hits = ruled.hits
        if hits.products or not len(hits.scores):
            return ruled
        products = await self.retrieval.lookup(wire.unpack_ids(hits.packed_ids), hits.version, deadline)
        return ruled._replace(hits=hits._replace(products=products))


def _count_products(product_ids: Sequence[str], unknown: set[str]) -> None:
    """Counts the interactions with known and with unknown products."""
    missed = sum(one in unknown for one in product_ids)
    metrics.interactions("known_product").inc(len(product_ids) - missed)
    if missed:
        metrics.interactions("unknown_product").inc(missed)


async def _explained(
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
    return None if query.session_id is None else owner_of(None, query.session_id)


async def on_one_version(attempt: Callable[[str], Awaitable[Answer]]) -> Answer:
    """Runs `attempt("")`; if a service does not hold the version asked for, runs it again on one that all hold.

    The first rerun asks for the newest version of the replica that refused, each further one for a version that all
    replicas hold that have refused. Each refusal rules a version out, so this ends. Raises Unavailable if they hold
    none in common.
    """
    version, held = "", list[str]()
    while True:
        try:
            return await attempt(version)
        except VersionNotHeld as error:
            held = [name for name in held or error.held if name in error.held and name != version]
            if not held:
                break
            version = held[0]
            metrics.VERSION_RERUNS.inc()
    raise Unavailable("the services hold no model version in common; a new one is probably being loaded")


def _of_row(error: InvalidInput, given: Sequence[Interaction]) -> InvalidInput:
    """The refusal of an event, for the first row with that event: the buyer service has the rows in another order."""
    for row, one in enumerate(given):
        refused = InvalidInput(f"recent_interactions[{row}].event_type", one.event_type, error.problem)
        if (error.field, error.value) == ("event_type", refused.value):
            return refused
    return error


def _doubts(query: SimilarQuery, vector: Vector, hits: Hits) -> list[str]:
    """Why a list is not what was asked for: products without a sequence, or without a vector."""
    count, warnings = len(hits.scores), []
    if query.by == "sequence" and hits.followers < count:
        known = f"only {hits.followers} of these products are" if hits.followers else "none of these products is"
        warnings.append(f"{known} known to follow {query.product_id!r}; the nearest by vector fill the list")
    # a product without text, brand, category and events has a vector of zeros
    if not vector.floats().any() and (query.by == "vector" or hits.followers < count):
        warnings.append(f"product {query.product_id!r} has no content and no events to compare")
    return warnings


def _unknown_cart(query: TogetherQuery | CompleteBody) -> NotFound:
    if isinstance(query, TogetherQuery):
        return NotFound(f"product {query.product_id!r} is not known", field="product_id")
    return NotFound(f"none of the {len(query.cart)} products of the cart is known", field="product_ids")


def _missing_complements(
    query: TogetherQuery | CompleteBody, unknown: Sequence[str], goes_with: int, count: int
) -> list[str]:
    """Why a list is not what was asked for."""
    warnings = [f"product {one!r} is not known" for one in unknown]
    if goes_with < count:
        known = f"only {goes_with} of these products are" if goes_with else "none of these products is"
        what = repr(query.cart[0]) if len(query.cart) == 1 else "the cart"
        warnings.append(f"{known} known to go with {what}; popular products fill the list")
    if query.diversity:
        warnings.append("diversity has no effect on products that are bought together")
    return warnings


def _needs_details(query: ListQuery) -> bool:
    """Whether the details of products are shown, or said to be the reasons."""
    return "products" in query.include or "reasons" in query.include


def _as_understood(asked: retrieval_pb2.Query, understood: item_pb2.Understood) -> retrieval_pb2.Query:
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


def _misses(query: SearchQuery, understood: item_pb2.Understood, hits: Hits) -> list[str]:
    """Why a search found nothing, or nothing that fits."""
    if hits.is_below_noise:
        return [f"no product matches {query.q!r}: these are no nearer than to words that no product has"]
    if not len(hits.scores) and any(not change.after for change in understood.changes):
        filtered = ", ".join(change.before for change in understood.changes if not change.after)
        return [f"no product is left by {filtered!r} of {query.q!r}; understand=false searches without such filters"]
    return []


def _no_diversity(query: ListQuery) -> list[str]:
    return ["diversity has no effect on this list"] if query.diversity else []


def _query(query: ListQuery, seen: set[str], history: str = "", follows: str = "") -> retrieval_pb2.Query:
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
