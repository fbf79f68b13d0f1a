"""ItemService over gRPC: decodes a request, calls the encoder, packs its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from item_service.encoder import Encoders, Item, load
from item_service.queries import QueryEncoder, Typed, UnderstoodQuery
from item_service.query.shop_synonyms import ShopSynonyms
from item_service.settings import ItemSettings
from twotower.artifact.layout import Layout
from twotower.artifact.private_copy import CopyCache
from twotower.errors import InvalidInput, SettingsError
from twotower.pb import item_pb2, item_pb2_grpc
from twotower.serving import server, wire
from twotower.serving.model_versions import Versions
from twotower.serving.rpc_method import RpcMethod
from twotower.serving.server import GrpcService
from twotower.serving.telemetry import CALL_ROWS
from twotower.serving.workers import Workers

# suggestions in one answer
MAX_SUGGESTIONS = 100


class ItemServicer:
    """Answers the calls of protos/item.proto with the versions held."""

    def __init__(self, versions: Versions[Encoders], workers: Workers, max_batch: int) -> None:
        self._versions = versions
        self._workers = workers
        self._max_batch = max_batch
        # what gRPC calls, by the names in protos/item.proto
        encode = RpcMethod("Encode", self.encode)
        self.Encode, self.EncodeStream = encode.unary, encode.stream
        self.Suggest = RpcMethod("Suggest", self.suggest).unary

    async def encode(self, request: item_pb2.EncodeRequest) -> item_pb2.EncodeResponse:
        if request.queries and request.items:
            raise InvalidInput("queries", len(request.queries), "stand in a call without items")
        field, rows = ("queries", request.queries) if request.queries else ("items", request.items)
        wire.check_batch(len(rows), self._max_batch, field)
        version, encoders = self._versions.get(request.model_version)
        encode = _encode_queries if request.queries else _encode
        return await self._workers.run(encode, encoders, version, request)

    async def suggest(self, request: item_pb2.SuggestRequest) -> item_pb2.SuggestResponse:
        if not 1 <= request.k <= MAX_SUGGESTIONS:
            raise InvalidInput("k", request.k, f"must be between 1 and {MAX_SUGGESTIONS}")
        version, encoders = self._versions.get(request.model_version)
        return await self._workers.run(_suggest, encoders.queries, version, request)


async def serve(
    settings: ItemSettings, stop: asyncio.Event | None = None, on_ready: Callable[[int], None] = lambda port: None
) -> None:
    """Runs the service until a signal or `stop`; `on_ready` gets the port."""
    cache = CopyCache(settings.cache) if settings.cache else None
    synonyms = _shop_synonyms(settings)
    loaded = partial(load, settings=settings, synonyms=synonyms)
    versions = Versions(Layout(settings.artifacts), loaded, cache)
    workers = Workers(settings.threads, settings.queue)
    servicer = ItemServicer(versions, workers, settings.max_batch)
    service = GrpcService(
        "item_service",
        item_pb2.DESCRIPTOR.services_by_name["ItemService"].full_name,
        servicer,
        item_pb2_grpc.add_ItemServiceServicer_to_server,
    )
    following = asyncio.create_task(synonyms.follow(settings.poll_seconds))
    try:
        await server.serve(service, settings, versions, stop, on_ready)
    finally:
        following.cancel()
        workers.close()


def _shop_synonyms(settings: ItemSettings) -> ShopSynonyms:
    try:
        return ShopSynonyms(settings.synonyms)
    except InvalidInput as error:
        raise SettingsError(f"TWOTOWER_ITEM_SYNONYMS={settings.synonyms}: {error}") from None


def _encode_queries(encoders: Encoders, version: str, request: item_pb2.EncodeRequest) -> item_pb2.EncodeResponse:
    encoded = encoders.queries.encode([Typed(one.text, one.raw) for one in request.queries])
    CALL_ROWS.labels("Encode").inc(len(encoded.rows))
    return item_pb2.EncodeResponse(
        text_vectors=wire.pack(encoded.vectors, version),
        queries=[
            item_pb2.EncodedQuery(error=wire.row_error(row.error), understood=_understood(row)) for row in encoded.rows
        ],
    )


def _understood(row: UnderstoodQuery) -> item_pb2.Understood | None:
    query = row.query
    if row.error is not None:
        return None
    return item_pb2.Understood(
        text=query.text,
        changes=[item_pb2.Change(step=one.step, before=one.before, after=one.after) for one in query.changes],
        price_min=query.price_min,
        price_max=query.price_max,
        excluded_words=query.excluded,
        brand=query.brand,
        category=query.category,
        words=[
            item_pb2.QueryWord(text=one.text, weight=one.weight, is_number=one.is_number, group=one.group)
            for one in row.words
        ],
        known_share=row.known_share,
    )


def _suggest(queries: QueryEncoder, version: str, request: item_pb2.SuggestRequest) -> item_pb2.SuggestResponse:
    found = queries.suggest(request.text, request.k)
    suggestions = [item_pb2.Suggestion(text=one.text, kind=one.kind, products=one.products) for one in found]
    return item_pb2.SuggestResponse(suggestions=suggestions, model_version=version)


def _encode(encoders: Encoders, version: str, request: item_pb2.EncodeRequest) -> item_pb2.EncodeResponse:
    encoder = encoders.items
    items = [Item(one.title, one.description, one.brand, one.category, one.product_id) for one in request.items]
    encoded = encoder.encode_texts(items) if request.text_only else encoder.encode(items)
    vectors = wire.pack(encoded.vectors, version)
    texts = vectors if request.text_only else None
    if request.with_text and not request.text_only:
        texts = wire.pack(encoded.texts, version)
    CALL_ROWS.labels("Encode").inc(len(encoded.rows))
    return item_pb2.EncodeResponse(
        vectors=None if request.text_only else vectors,
        items=[
            item_pb2.EncodedItem(error=wire.row_error(row.error), unknown_fields=row.unknown_fields)
            for row in encoded.rows
        ],
        text_vectors=texts,
    )
