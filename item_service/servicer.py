"""ItemService over gRPC: decodes a request, calls the encoder, packs its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from item_service.encoder import Item, ItemEncoder, load
from item_service.settings import ItemSettings
from twotower.artifact.layout import Layout
from twotower.artifact.private_copy import CopyCache
from twotower.pb import item_pb2, item_pb2_grpc
from twotower.serving import server, wire
from twotower.serving.model_versions import Versions
from twotower.serving.rpc_method import RpcMethod
from twotower.serving.server import GrpcService
from twotower.serving.telemetry import CALL_ROWS
from twotower.serving.workers import Workers


class ItemServicer:
    """Answers the calls of protos/item.proto with the versions held."""

    def __init__(self, versions: Versions[ItemEncoder], workers: Workers, max_batch: int) -> None:
        self._versions = versions
        self._workers = workers
        self._max_batch = max_batch
        # what gRPC calls, by the names in protos/item.proto
        encode = RpcMethod("Encode", self.encode)
        self.Encode, self.EncodeStream = encode.unary, encode.stream

    async def encode(self, request: item_pb2.EncodeRequest) -> item_pb2.EncodeResponse:
        wire.check_batch(len(request.items), self._max_batch, "items")
        version, encoder = self._versions.get(request.model_version)
        return await self._workers.run(_encode, encoder, version, request)


async def serve(
    settings: ItemSettings, stop: asyncio.Event | None = None, on_ready: Callable[[int], None] = lambda port: None
) -> None:
    """Runs the service until a signal or `stop`; `on_ready` gets the port."""
    cache = CopyCache(settings.cache) if settings.cache else None
    versions = Versions(Layout(settings.artifacts), partial(load, settings=settings), cache)
    workers = Workers(settings.threads, settings.queue)
    servicer = ItemServicer(versions, workers, settings.max_batch)
    service = GrpcService(
        "item_service",
        item_pb2.DESCRIPTOR.services_by_name["ItemService"].full_name,
        servicer,
        item_pb2_grpc.add_ItemServiceServicer_to_server,
    )
    await server.serve(service, settings, versions, stop, on_ready)
    workers.close()


def _encode(encoder: ItemEncoder, version: str, request: item_pb2.EncodeRequest) -> item_pb2.EncodeResponse:
    items = [Item(one.title, one.description, one.brand, one.category, one.product_id) for one in request.items]
    encoded = encoder.encode_texts(items) if request.text_only else encoder.encode(items)
    vectors = wire.pack(encoded.vectors, version)
    CALL_ROWS.labels("Encode").inc(len(encoded.rows))
    return item_pb2.EncodeResponse(
        vectors=None if request.text_only else vectors,
        items=[
            item_pb2.EncodedItem(error=wire.row_error(row.error), unknown_fields=row.unknown_fields)
            for row in encoded.rows
        ],
        text_vectors=vectors if request.text_only else None,
    )
