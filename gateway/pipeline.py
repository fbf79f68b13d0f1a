"""From a checked request to its answer: history, vector, products. All of one answer is of one model version."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeVar

from gateway import metrics
from gateway.clients.deadline import Deadline
from gateway.clients.services import BuyerClient, EncodedBuyer, Hits, ItemClient, RetrievalClient, Vector
from gateway.history.codec import Addition
from gateway.history.store import HistoryStore
from gateway.schemas.requests import ListQuery, RetrieveQuery, SearchQuery, SimilarQuery
from twotower.errors import (
    DeadlineExceeded,
    InvalidInput,
    NotFound,
    TwoTowerError,
    Unavailable,
    VersionNotHeld,
)
from twotower.events import Interaction
from twotower.history import latest
from twotower.pb import retrieval_pb2
from twotower.serving import wire

# of the time left: what is spent on a history or a buyer's vector must leave enough for the popular products
_FIRST_SHARE = 0.5
_RERUNS = 2
Answer = TypeVar("Answer")
Source = Literal["model", "popular"]


class ProductList(NamedTuple):
    """One list of products as it goes out; `products` only where they were asked for."""

    hits: Hits
    source: Source
    warnings: list[str]
    products: list[retrieval_pb2.Product] | None


class BuyerEncoding(NamedTuple):
    """A buyer's vector, and how many of the interactions were stored."""

    encoded: EncodedBuyer
    stored: int
    warnings: list[str]


class KnownBuyer(NamedTuple):
    """What Redis said of a buyer: the history, oldest first, packed; or the reason why it could not be read."""

    history: str
    failure: TwoTowerError | None


@dataclass(frozen=True)
class Pipeline:
    """The flows behind the routes. Raises the errors of `twotower.errors`; `deadline` is that of the whole request."""

    history: HistoryStore
    items: ItemClient
    buyers: BuyerClient
    retrieval: RetrievalClient
    history_size: int

    async def encode_buyer(self, buyer_id: str, given: Sequence[Interaction], deadline: Deadline) -> BuyerEncoding:
        """The vector of exactly these interactions (the latest N, each once), which are then stored.

        Products that the model does not know are skipped and named, and stored all the same: the next version may
        know them. Where it knows none, or not one of the events, InvalidInput, and nothing is stored.
        """
        interactions = latest(list(set(given)), self.history_size)
        try:
            encoded = await self.buyers.encode(wire.pack_history(interactions), "", deadline)
        except NotFound:
            products = list(dict.fromkeys(one.product_id for one in interactions))
            problem = "none of these products is known to the model; nothing was stored"
            raise InvalidInput("recent_interactions", products, problem) from None
        except InvalidInput as error:
            raise _of_row(error, given) from None
        warnings = []
        if len(interactions) < len(given):
            warnings.append(f"{len(interactions)} of {len(given)} interactions count: the latest, each once")
        try:
            stored = await self.history.add([Addition(buyer_id, interactions)], deadline)
        except (Unavailable, DeadlineExceeded) as error:
            stored = 0
            warnings.append(f"nothing was stored: {error}")
        return BuyerEncoding(encoded, stored, warnings)

    async def add(self, additions: Sequence[Addition], deadline: Deadline) -> int:
        """Stores interactions, all or none. Unavailable where Redis is down: then none was kept."""
        return await self.history.add(additions, deadline)

    async def retrieve(self, query: RetrieveQuery, deadline: Deadline) -> ProductList:
        """The products nearest to a buyer's stored history, or the popular ones where there is none to go by."""
        known = await self._read(query.buyer_id, deadline)
        seen = set(wire.unpack_columns(known.history)[0]) if query.exclude_seen else set()
        ask = _query(query, seen)

        async def attempt(version: str) -> ProductList:
            vector, reason = await self._buyer_vector(query, known, version, deadline)
            if vector is None:
                hits = await self.retrieval.popular(ask, version, deadline)
                if query.diversity:
                    reason = [*reason, "diversity has no effect on popular products"]
                return await self._list(query, hits, "popular", reason, deadline)
            hits = await self.retrieval.search(vector, ask, deadline)
            return await self._list(query, hits, "model", reason, deadline)

        return await on_one_version(attempt)

    async def similar(self, query: SimilarQuery, deadline: Deadline) -> ProductList:
        """The products nearest to a product, itself left out. NotFound where the model does not know it."""

        async def attempt(version: str) -> ProductList:
            vector = await self.retrieval.vector(query.product_id, version, deadline)
            if vector is None:
                raise NotFound(f"product {query.product_id!r} is not known", field="product_id")
            # a product without text, brand, category and events
            blank = (
                [] if vector.floats().any() else [f"nothing is known of {query.product_id!r} to tell what is like it"]
            )
            hits = await self.retrieval.search(vector, _query(query, {query.product_id}), deadline)
            return await self._list(query, hits, "model", blank, deadline)

        return await on_one_version(attempt)

    async def search(self, query: SearchQuery, deadline: Deadline) -> ProductList:
        """The products whose texts are nearest to a text, by the text encoder."""

        async def attempt(version: str) -> ProductList:
            try:
                vector = await self.items.encode_text(query.q, version, deadline)
            except InvalidInput as error:
                raise InvalidInput("q", query.q, f"cannot be encoded: {error.problem}") from None
            hits, warnings = await self.retrieval.search_texts(vector, _query(query, set()), deadline), list[str]()
            if hits.is_below_noise:
                warnings = [f"no product reads like {query.q!r}: these are no nearer to it than to random letters"]
            return await self._list(query, hits, "model", warnings, deadline)

        return await on_one_version(attempt)

    async def _read(self, buyer_id: str, deadline: Deadline) -> KnownBuyer:
        try:
            return KnownBuyer(await self.history.read(buyer_id, deadline.share(_FIRST_SHARE)), None)
        except (Unavailable, DeadlineExceeded) as error:
            return KnownBuyer("", error)

    async def _buyer_vector(
        self, query: RetrieveQuery, known: KnownBuyer, version: str, deadline: Deadline
    ) -> tuple[Vector | None, list[str]]:
        """The buyer's vector, or None for the popular products, with what the caller should be told of it.

        With `fallback=none`, NotFound where the buyer has no known history, and the failure itself where one is why.
        """
        failure: TwoTowerError | None = known.failure
        warnings = [f"the buyer's history cannot be read: {failure}"] if failure else []
        if known.history:
            try:
                encoded = await self.buyers.encode(known.history, version, deadline.share(_FIRST_SHARE))
                return encoded.vector, []
            except (Unavailable, DeadlineExceeded) as error:
                failure = error
                warnings = [f"the buyer's history cannot be encoded: {error}"]
            except InvalidInput as error:
                # stored under event names that this version does not have
                warnings = [f"the buyer's history cannot be encoded: {error}"]
            except NotFound:
                pass  # a history of products that this version does not know is no known history
        if query.fallback == "none":
            raise failure or NotFound(f"buyer {query.buyer_id!r} has no known history", field="buyer_id")
        return None, warnings

    async def _list(
        self, query: ListQuery, hits: Hits, source: Source, warnings: list[str], deadline: Deadline
    ) -> ProductList:
        warnings = warnings + [f"no product has {value}" for value in hits.unknown_filter_values]
        products = None
        if query.include == "products":
            products = await self.retrieval.lookup(wire.unpack_ids(hits.packed_ids), hits.version, deadline)
        return ProductList(hits, source, warnings, products)


async def on_one_version(attempt: Callable[[str], Awaitable[Answer]]) -> Answer:
    """Runs `attempt("")`, and again on a version that all services hold where one lacks the version asked for.

    The first rerun takes the newest version of the service that refused; only where another refuses that one too,
    a second takes one that both named. Unavailable where there is none in common.
    """
    version, held = "", list[str]()
    for _ in range(1 + _RERUNS):
        try:
            return await attempt(version)
        except VersionNotHeld as error:
            held = [name for name in held if name in error.held] if held else error.held
            if not held:
                break
            version = held[0]
            metrics.VERSION_RERUNS.inc()
    raise Unavailable("the services hold no model version in common; a new one is probably being loaded")


def _of_row(error: InvalidInput, given: Sequence[Interaction]) -> InvalidInput:
    """The refusal of an event, naming the first row that holds it: the buyer service has them in another order."""
    for row, one in enumerate(given):
        refused = InvalidInput(f"recent_interactions[{row}].event_type", one.event_type, error.problem)
        if (error.field, error.value) == ("event_type", refused.value):
            return refused
    return error


def _query(query: ListQuery, seen: set[str]) -> retrieval_pb2.Query:
    asked = retrieval_pb2.Query(k=query.k, excluded_ids=[*query.exclude, *sorted(seen)], diversity=query.diversity)
    if query.category or query.brand or query.in_stock is not None:
        asked.filter.categories.extend(query.category)
        asked.filter.brands.extend(query.brand)
        if query.in_stock is not None:
            asked.filter.in_stock = query.in_stock
    return asked
