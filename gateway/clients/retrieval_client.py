"""The client of one retrieval service: batches concurrent calls into one RPC."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import grpc
import numpy as np

from gateway.clients.answers import Hits, RegularHits, RisingHits, Together, Vector, unpack_hits, unpack_vectors
from gateway.clients.batching import Batcher, Limits
from gateway.clients.deadline import Deadline
from gateway.clients.hedging import Hedging
from gateway.clients.streams import StreamedCalls
from twotower.errors import Unavailable
from twotower.pb import common_pb2, retrieval_pb2, retrieval_pb2_grpc
from twotower.serving import client, wire

# ids in one Lookup: enough for the largest answer, and within every service's limit
_MAX_LOOKUP = 1000
_Search = tuple[Vector, retrieval_pb2.Query]
_Trending = tuple[retrieval_pb2.Query, retrieval_pb2.RisingTable | None]


class _Lanes:
    """Batches searches. One that costs as much as a whole batch goes alone: no other call waits for it.

    At most one of those is under way at a time.
    """

    def __init__(
        self, name: str, send: Callable[[str, list[_Search], float], Awaitable[list[Hits | Exception]]], limits: Limits
    ) -> None:
        self._max_batch = limits.max_batch
        self._ordinary: Batcher[_Search, Hits] = Batcher(name, send, limits, _cost)
        self._expensive: Batcher[_Search, Hits] = Batcher(name, send, replace(limits, in_flight=1), _cost)

    async def call(self, call: _Search, deadline: Deadline, group: str) -> Hits:
        lane = self._expensive if _cost(call) >= self._max_batch else self._ordinary
        return await lane.call(call, deadline, group)

    async def close(self) -> None:
        await self._ordinary.close()
        await self._expensive.close()


class RetrievalClient:
    """RetrievalService."""

    def __init__(self, channel: Any, limits: Limits, name: str = "retrieval service") -> None:
        """Errors and metrics call the service `name`."""
        self._stub = retrieval_pb2_grpc.RetrievalServiceStub(channel)  # type: ignore[no-untyped-call]
        self._channel, self._name, self._max_batch = channel, name, limits.max_batch
        self._hedging = Hedging(name, limits.hedge_after)
        self._streamed = StreamedCalls(
            self._stub.SearchStream, self._stub.Search, name, self._hedging, keep=limits.in_flight
        )
        self._searches = _Lanes(name, self._search, limits)
        self._text_searches = _Lanes(name, partial(self._search, by_text=True), limits)
        self._populars: Batcher[retrieval_pb2.Query, Hits] = Batcher(name, self._popular, limits, _details_cost)
        self._agains: Batcher[retrieval_pb2.AgainQuery, RegularHits] = Batcher(name, self._again, limits)
        self._trendings: Batcher[_Trending, RisingHits] = Batcher(name, self._trending, limits)
        self._carts: Batcher[retrieval_pb2.TogetherQuery, Together] = Batcher(name, self._together, limits)
        self._vectors: Batcher[str, Vector | None] = Batcher(name, self._vectors_of, limits)
        by_ids = replace(limits, max_batch=_MAX_LOOKUP)
        self._unknowns: Batcher[Sequence[str], set[str]] = Batcher(name, self._unknown_of, by_ids, len)
        self._lookups: Batcher[Sequence[str], list[retrieval_pb2.Product]] = Batcher(name, self._lookup, by_ids, len)

    def is_away(self) -> bool:
        """Whether no replica could be reached when the channel last tried: a call would fail, after its retries."""
        return bool(self._channel.get_state() is grpc.ChannelConnectivity.TRANSIENT_FAILURE)

    async def search(self, vector: Vector, query: retrieval_pb2.Query, deadline: Deadline) -> Hits:
        """The best products for a vector, and for the query's history if it has one, in the vector's own version."""
        return await self._searches.call((vector, query), deadline, vector.version)

    async def search_texts(self, vector: Vector, query: retrieval_pb2.Query, deadline: Deadline) -> Hits:
        """The products whose texts are nearest to a text vector, in the vector's own version."""
        return await self._text_searches.call((vector, query), deadline, vector.version)

    async def popular(self, query: retrieval_pb2.Query, version: str, deadline: Deadline) -> Hits:
        """The most popular products; scores are their shares of all events' weight."""
        return await self._populars.call(query, deadline, version)

    async def again(self, query: retrieval_pb2.AgainQuery, version: str, deadline: Deadline) -> RegularHits:
        """What the buyer of the query's history buys again."""
        return await self._agains.call(query, deadline, version)

    async def trending(
        self, query: retrieval_pb2.Query, table: retrieval_pb2.RisingTable | None, version: str, deadline: Deadline
    ) -> RisingHits:
        """The rising products of the `table`, or of the training's. A batch takes the table that came last."""
        return await self._trendings.call((query, table), deadline, version)

    async def together(
        self, cart: Sequence[str], query: retrieval_pb2.Query, version: str, deadline: Deadline
    ) -> Together:
        """What is bought together with the products of a cart, none of it."""
        return await self._carts.call(retrieval_pb2.TogetherQuery(query=query, product_ids=cart), deadline, version)

    async def vector(self, product_id: str, version: str, deadline: Deadline) -> Vector | None:
        """The stored vector of a product, None for an unknown one."""
        return await self._vectors.call(product_id, deadline, version)

    async def find_unknown(self, product_ids: Sequence[str], deadline: Deadline, version: str = "") -> set[str]:
        """Those products that the version does not know."""
        return await self._unknowns.call(product_ids, deadline, version) if product_ids else set()

    async def lookup(self, product_ids: Sequence[str], version: str, deadline: Deadline) -> list[retrieval_pb2.Product]:
        """The details of each product, in order."""
        return await self._lookups.call(product_ids, deadline, version) if product_ids else []

    async def lookup_reachable(
        self, product_ids: Sequence[str], version: str, deadline: Deadline
    ) -> list[retrieval_pb2.Product]:
        """As `lookup`: one service holds all products."""
        return await self.lookup(product_ids, version, deadline)

    async def close(self) -> None:
        for lanes in (self._searches, self._text_searches):
            await lanes.close()
        batchers: list[Batcher[Any, Any]] = [self._agains, self._trendings, self._carts]
        batchers += [self._populars, self._vectors, self._unknowns, self._lookups]
        for batcher in batchers:
            await batcher.close()
        self._streamed.close()

    async def _call(self, method: Any, request: Any, timeout: float) -> Any:
        until = time.monotonic() + timeout

        def attempt() -> Coroutine[Any, Any, Any]:
            return client.call(method, request, until - time.monotonic(), self._name)

        return await self._hedging.call(attempt, timeout)

    def _is_expensive(self, calls: Sequence[_Search]) -> bool:
        """True for a batch that costs as much as a whole batch of plain searches: it may be late without a fault."""
        return len(calls) == 1 and _cost(calls[0]) >= self._max_batch

    async def _search(
        self, version: str, calls: list[_Search], timeout: float, by_text: bool = False
    ) -> list[Hits | Exception]:
        request = _search_request(version, calls, by_text)
        answer = await self._streamed.call(request, timeout, is_expensive=self._is_expensive(calls))
        return [unpack_hits(hits, answer.model_version) for hits in answer.hits]

    async def _popular(
        self, version: str, queries: list[retrieval_pb2.Query], timeout: float
    ) -> list[Hits | Exception]:
        request = retrieval_pb2.PopularRequest(queries=queries, model_version=version, packed=True)
        answer = await self._call(self._stub.Popular, request, timeout)
        return [unpack_hits(hits, answer.model_version) for hits in answer.hits]

    async def _again(
        self, version: str, queries: list[retrieval_pb2.AgainQuery], timeout: float
    ) -> list[RegularHits | Exception]:
        request = retrieval_pb2.AgainRequest(queries=queries, model_version=version)
        answer = await self._call(self._stub.Again, request, timeout)
        return [RegularHits(unpack_hits(one.hits, answer.model_version), one.due, one.missing) for one in answer.hits]

    async def _trending(self, version: str, calls: list[_Trending], timeout: float) -> list[RisingHits | Exception]:
        queries = [query for query, _ in calls]
        request = retrieval_pb2.TrendingRequest(queries=queries, model_version=version, rising=calls[-1][1])
        answer = await self._call(self._stub.Trending, request, timeout)
        counted = answer.counted if answer.HasField("counted") else None
        return [
            RisingHits(
                unpack_hits(one.hits, answer.model_version),
                wire.unpack_scores(one.buyers),
                wire.unpack_scores(one.expected),
                counted,
            )
            for one in answer.hits
        ]

    async def _together(
        self, version: str, queries: list[retrieval_pb2.TogetherQuery], timeout: float
    ) -> list[Together | Exception]:
        request = retrieval_pb2.TogetherRequest(queries=queries, model_version=version, packed=True)
        answer = await self._call(self._stub.Together, request, timeout)
        return [
            Together(
                unpack_hits(one.hits, answer.model_version),
                list(one.because),
                list(one.is_known),
                list(one.unknown_product_ids),
            )
            for one in answer.hits
        ]

    async def _vectors_of(self, version: str, ids: list[str], timeout: float) -> Sequence[Vector | None]:
        request = retrieval_pb2.VectorsRequest(product_ids=ids, model_version=version)
        answer = await self._call(self._stub.Vectors, request, timeout)
        unknown = set(answer.unknown_product_ids)
        vectors = unpack_vectors(answer.vectors, len(ids))
        return [None if one in unknown else vector for one, vector in zip(ids, vectors, strict=True)]

    async def _unknown_of(self, version: str, calls: list[Sequence[str]], timeout: float) -> list[set[str]]:
        ids = dict.fromkeys(one for asked in calls for one in asked)
        request = retrieval_pb2.VectorsRequest(product_ids=ids, model_version=version, unknown_only=True)
        answer = await client.call(self._stub.Vectors, request, timeout, self._name)
        unknown = set(answer.unknown_product_ids)
        return [unknown.intersection(asked) for asked in calls]

    async def _lookup(
        self, version: str, calls: list[Sequence[str]], timeout: float
    ) -> list[list[retrieval_pb2.Product]]:
        ids = [one for asked in calls for one in asked]
        request = retrieval_pb2.LookupRequest(product_ids=ids, model_version=version)
        answer = await self._call(self._stub.Lookup, request, timeout)
        products = list(answer.products)
        if len(products) != len(request.product_ids):
            raise Unavailable(f"Lookup answered {len(products)} products for {len(request.product_ids)}")
        ends = np.cumsum([len(ids) for ids in calls]).tolist()
        return [products[end - len(ids) : end] for ids, end in zip(calls, ends, strict=True)]


def _search_request(version: str, calls: list[_Search], by_text: bool) -> retrieval_pb2.SearchRequest:
    vectors = common_pb2.Vectors(
        data=b"".join(vector.data for vector, _ in calls), dimension=calls[0][0].dimension, model_version=version
    )
    queries = [query for _, query in calls]
    return retrieval_pb2.SearchRequest(vectors=vectors, queries=queries, packed=True, by_text=by_text)


def _cost(call: _Search) -> int:
    """The cost of a search in plain searches: a diverse list of 100 products costs 17, one with details 7.

    A batch holds fewer expensive searches, so that the other calls in it do not wait long.
    """
    _, query = call
    return _details_cost(query) + (query.k * query.k // 600 if query.diversity else 0)


def _details_cost(query: retrieval_pb2.Query) -> int:
    """The cost of a list in lists without details: a batch of 64 then holds details of a thousand products at most."""
    return 1 + (query.k // 16 if query.with_products else 0)
