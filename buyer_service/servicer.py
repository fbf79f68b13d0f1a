"""BuyerService over gRPC: decodes a request, calls the encoder, packs its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from buyer_service.encoder import BuyerEncoder, Columns, Parts, load
from buyer_service.settings import BuyerSettings
from twotower.artifact.layout import Layout
from twotower.artifact.private_copy import CopyCache
from twotower.errors import InvalidInput
from twotower.live.start import following, open_follower
from twotower.pb import buyer_pb2, buyer_pb2_grpc, common_pb2
from twotower.serving import server, wire
from twotower.serving.model_versions import Versions
from twotower.serving.rpc_method import RpcMethod
from twotower.serving.server import GrpcService
from twotower.serving.telemetry import CALL_ROWS
from twotower.serving.workers import Workers

# a few milliseconds of work: this many histories, and this many bytes (some 1,500 interactions)
_FEW, _FEW_BYTES = 64, 48 << 10


class BuyerServicer:
    """Answers the calls of protos/buyer.proto with the versions held."""

    def __init__(self, versions: Versions[BuyerEncoder], workers: Workers, max_batch: int) -> None:
        self._versions = versions
        self._workers = workers
        self._max_batch = max_batch
        # what gRPC calls, by the names in protos/buyer.proto
        encode = RpcMethod("Encode", self.encode)
        self.Encode, self.EncodeStream = encode.unary, encode.stream

    async def encode(self, request: buyer_pb2.EncodeRequest) -> buyer_pb2.EncodeResponse:
        wire.check_batch(len(request.histories), self._max_batch, "histories")
        version, encoder = self._versions.get(request.model_version)
        run = self._workers.run_short if is_short(request) else self._workers.run
        return await run(_encode, encoder, version, request)


async def serve(
    settings: BuyerSettings, stop: asyncio.Event | None = None, on_ready: Callable[[int], None] = lambda port: None
) -> None:
    """Runs the service until a signal or `stop`; `on_ready` gets the port."""
    cache = CopyCache(settings.cache) if settings.cache else None
    follower = open_follower(settings, "buyer")
    versions = Versions(Layout(settings.artifacts), partial(load, settings=settings, follower=follower), cache)
    workers = Workers(settings.threads, settings.queue)
    servicer = BuyerServicer(versions, workers, settings.max_batch)
    service = GrpcService(
        "buyer_service",
        buyer_pb2.DESCRIPTOR.services_by_name["BuyerService"].full_name,
        servicer,
        buyer_pb2_grpc.add_BuyerServiceServicer_to_server,
    )
    async with following(follower, versions):
        await server.serve(service, settings, versions, stop, on_ready)
    workers.close()


def is_short(request: buyer_pb2.EncodeRequest) -> bool:
    """True for a request of a few milliseconds: few histories, and short ones."""
    return len(request.histories) <= _FEW and request.ByteSize() <= _FEW_BYTES


def _encode(encoder: BuyerEncoder, version: str, request: buyer_pb2.EncodeRequest) -> buyer_pb2.EncodeResponse:
    encoded = encoder.encode([_history(one) for one in request.histories])
    CALL_ROWS.labels("Encode").inc(len(encoded.rows))
    if encoder.lengths is not None:
        encoder.lengths.count([row.used for row in encoded.rows if row.error is None])
    return buyer_pb2.EncodeResponse(
        vectors=wire.pack(encoded.vectors, version),
        buyers=[
            buyer_pb2.EncodedBuyer(
                error=wire.row_error(row.error),
                unknown_product_ids=row.unknown_product_ids,
                used=row.used,
                newest=row.newest,
                parts=_parts(row.parts),
            )
            for row in encoded.rows
        ],
    )


def _parts(parts: Parts | None) -> common_pb2.Parts | None:
    if parts is None:
        return None
    return common_pb2.Parts(
        product_ids=parts.product_ids, event_types=parts.event_types, data=parts.vectors.astype("<f4").tobytes()
    )


def _history(message: buyer_pb2.History) -> Columns | InvalidInput:
    if message.packed:
        try:
            return Columns(*wire.unpack_columns(message.packed), message.with_parts)
        except InvalidInput as error:
            return error
    rows = message.interactions
    return Columns(
        [one.product_id for one in rows],
        [one.event_type for one in rows],
        [one.timestamp_ms for one in rows],
        message.with_parts,
    )
