"""RetrievalService over gRPC: checks a request, and runs its call where nothing else waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from retrieval_service.index import ProductIndex
from retrieval_service.loading import load
from retrieval_service.messages import calls, lists
from retrieval_service.messages.hits import shard_of
from retrieval_service.messages.queries import is_expensive, is_short, read_queries, version_of
from retrieval_service.releases import ReleaseServicer
from retrieval_service.settings import RetrievalSettings
from twotower.artifact.layout import Layout
from twotower.artifact.private_copy import CopyCache
from twotower.live.start import following, open_follower
from twotower.pb import releases_pb2_grpc, retrieval_pb2, retrieval_pb2_grpc
from twotower.serving import server, wire
from twotower.serving.model_versions import Versions
from twotower.serving.rpc_method import RpcMethod
from twotower.serving.server import GrpcService
from twotower.serving.workers import Workers

# milliseconds that a search may take on the event loop
_SHORT_MS = 8


class RetrievalServicer:
    """Answers the calls of protos/retrieval.proto with the versions held."""

    def __init__(
        self,
        versions: Versions[ProductIndex],
        workers: Workers,
        expensive: Workers,
        remote: Workers,
        settings: RetrievalSettings,
    ) -> None:
        """`expensive` runs what takes long, and `remote` what waits for Milvus, so that nothing else waits for them."""
        self._versions = versions
        self._workers = workers
        self._expensive = expensive
        self._remote = remote
        self._settings = settings
        # what gRPC calls, by the names in protos/retrieval.proto
        search = RpcMethod("Search", self.search)
        self.Search, self.SearchStream = search.unary, search.stream
        self.Popular = RpcMethod("Popular", self.popular).unary
        self.Again = RpcMethod("Again", self.again).unary
        self.Trending = RpcMethod("Trending", self.trending).unary
        self.Together = RpcMethod("Together", self.together).unary
        self.Lookup = RpcMethod("Lookup", self.lookup).unary
        self.Vectors = RpcMethod("Vectors", self.vectors).unary

    async def search(self, request: retrieval_pb2.SearchRequest) -> retrieval_pb2.SearchResponse:
        wire.check_batch(len(request.queries), self._settings.max_batch, "queries")
        version, index = self._versions.get(version_of(request))
        if index.is_remote and not request.by_text:
            return await self._remote.run(calls.search, index, version, request)
        if is_expensive(request):
            return await self._expensive.run(calls.search, index, version, request)
        short = index.milliseconds(len(request.queries)) <= _SHORT_MS and is_short(request)
        run = self._workers.run_short if short else self._workers.run
        return await run(calls.search, index, version, request)

    async def popular(self, request: retrieval_pb2.PopularRequest) -> retrieval_pb2.PopularResponse:
        wire.check_batch(len(request.queries), self._settings.max_batch, "queries")
        version, index = self._versions.get(request.model_version)
        return await self._workers.run(calls.popular, index, version, request)

    async def again(self, request: retrieval_pb2.AgainRequest) -> retrieval_pb2.AgainResponse:
        wire.check_batch(len(request.queries), self._settings.max_batch, "queries")
        version, index = self._versions.get(request.model_version)
        queries = read_queries(one.query for one in request.queries)
        return await self._workers.run(lists.again, index, version, request, queries)

    async def trending(self, request: retrieval_pb2.TrendingRequest) -> retrieval_pb2.TrendingResponse:
        wire.check_batch(len(request.queries), self._settings.max_batch, "queries")
        version, index = self._versions.get(request.model_version)
        return await self._workers.run(lists.trending, index, version, request, read_queries(request.queries))

    async def together(self, request: retrieval_pb2.TogetherRequest) -> retrieval_pb2.TogetherResponse:
        wire.check_batch(len(request.queries), self._settings.max_batch, "queries")
        version, index = self._versions.get(request.model_version)
        return await self._workers.run(calls.together, index, version, request)

    async def lookup(self, request: retrieval_pb2.LookupRequest) -> retrieval_pb2.LookupResponse:
        wire.check_batch(len(request.product_ids), self._settings.max_lookup, "product_ids", minimum=0)
        version, index = self._versions.get(request.model_version)
        return await self._workers.run(calls.lookup, index, version, request)

    async def vectors(self, request: retrieval_pb2.VectorsRequest) -> retrieval_pb2.VectorsResponse:
        maximum = self._settings.max_lookup if request.unknown_only else self._settings.max_batch
        wire.check_batch(len(request.product_ids), maximum, "product_ids", minimum=0)
        version, index = self._versions.get(request.model_version)
        if request.unknown_only:
            # a millisecond for ten thousand
            unknown = index.unknown(request.product_ids)
            return retrieval_pb2.VectorsResponse(unknown_product_ids=unknown, shard=shard_of(index))
        return await self._workers.run(calls.vectors, index, version, request)


async def serve(
    settings: RetrievalSettings, stop: asyncio.Event | None = None, on_ready: Callable[[int], None] = lambda port: None
) -> None:
    """Runs the service until a signal or `stop`; `on_ready` gets the port."""
    cache = CopyCache(settings.cache) if settings.cache else None
    follower = open_follower(settings, "retrieval")
    versions = Versions(Layout(settings.artifacts), partial(load, settings=settings, follower=follower), cache)
    workers = Workers(settings.threads, settings.queue)
    expensive = Workers(1, settings.queue, pool="expensive")
    remote = Workers(settings.milvus_searches, settings.queue, pool="milvus")
    servicer = RetrievalServicer(versions, workers, expensive, remote, settings)
    service = GrpcService(
        "retrieval_service",
        retrieval_pb2.DESCRIPTOR.services_by_name["RetrievalService"].full_name,
        servicer,
        partial(_register, ReleaseServicer(settings)),
    )
    async with following(follower, versions):
        await server.serve(service, settings, versions, stop, on_ready)
    for pool in (workers, expensive, remote):
        pool.close()


def _register(releases: ReleaseServicer, servicer: RetrievalServicer, target: Any) -> None:
    retrieval_pb2_grpc.add_RetrievalServiceServicer_to_server(servicer, target)
    releases_pb2_grpc.add_ReleaseServiceServicer_to_server(releases, target)
