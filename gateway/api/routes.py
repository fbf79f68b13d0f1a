"""One handler per call: decode, call, encode. Plain Starlette routes, because they cost a request the least."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import orjson
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from gateway import health, metrics
from gateway.clients.deadline import Deadline
from gateway.health import Dependency
from gateway.history.codec import Addition
from gateway.pipeline import Pipeline, ProductList
from gateway.schemas import parsing as reading
from gateway.schemas import requests as schemas
from gateway.schemas.answers import EncodeBuyerAnswer, InteractionsAnswer, ListAnswer
from gateway.schemas.fields import Context
from gateway.settings import GatewaySettings
from twotower.events import EventSchema
from twotower.pb import retrieval_pb2
from twotower.serving import telemetry, wire

Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True)
class RouteSpec:
    """One call of the API: what serves it and what /docs says of it."""

    method: str
    path: str
    handler: Handler
    summary: str
    answer: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    bodies: tuple[type[BaseModel], ...] = field(default=())


@dataclass(frozen=True)
class Live:
    """What exists only while the process serves: made in the lifespan, kept in the application's state."""

    pipeline: Pipeline
    dependencies: list[Dependency]


class Routes:
    """The handlers. They find the pipeline in the request's state, where the lifespan puts it."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._settings = settings
        # the gateway needs the names alone; weights belong to the model version
        events = EventSchema(dict.fromkeys(settings.event_types, 1.0))
        self._context = Context(events, settings.max_k, settings.max_interactions)

    def table(self) -> list[RouteSpec]:
        """Every call, the most frequent first: that is the order in which they are looked up."""
        lists = ListAnswer
        encode, kept = schemas.EncodeBuyerBody, (schemas.BuyerInteractionIn, schemas.InteractionsBody)
        return [
            RouteSpec("GET", "/retrieve", self.retrieve, "Products for a known buyer", lists, schemas.RetrieveQuery),
            RouteSpec(
                "POST",
                "/encode_buyer",
                self.encode_buyer,
                "A buyer's vector from interactions, which are stored",
                EncodeBuyerAnswer,
                bodies=(encode,),
            ),
            RouteSpec("GET", "/similar", self.similar, "Products like a product", lists, schemas.SimilarQuery),
            RouteSpec("GET", "/search", self.search, "Products for a text", lists, schemas.SearchQuery),
            RouteSpec(
                "POST",
                "/interactions",
                self.interactions,
                "Stores one or many interactions",
                InteractionsAnswer,
                bodies=kept,
            ),
            RouteSpec("GET", "/healthz", self.healthz, "Whether the process is alive"),
            RouteSpec("GET", "/readyz", self.readyz, "Whether it can answer, and what is degraded"),
            RouteSpec("GET", "/metrics", self.metrics, "Prometheus metrics"),
        ]

    async def retrieve(self, request: Request) -> Response:
        query = reading.read_query(schemas.RetrieveQuery, self._query_of(request), self._context)
        return list_response("/retrieve", await _live(request).pipeline.retrieve(query, self._deadline()))

    async def similar(self, request: Request) -> Response:
        query = reading.read_query(schemas.SimilarQuery, self._query_of(request), self._context)
        return list_response("/similar", await _live(request).pipeline.similar(query, self._deadline()))

    async def search(self, request: Request) -> Response:
        query = reading.read_query(schemas.SearchQuery, self._query_of(request), self._context)
        return list_response("/search", await _live(request).pipeline.search(query, self._deadline()))

    async def encode_buyer(self, request: Request) -> Response:
        body = reading.read_body(schemas.EncodeBuyerBody, await self._json_of(request), self._context)
        made = await _live(request).pipeline.encode_buyer(body.buyer_id, body.interactions(), self._deadline())
        vector = made.encoded.vector
        return _json(
            {
                "buyer_id": body.buyer_id,
                "buyer_embedding": vector.floats(),
                "dimension": vector.dimension,
                "model_version": vector.version,
                "source": "interactions",
                "used": made.encoded.used,
                "stored": made.stored,
                "unknown_product_ids": made.encoded.unknown_product_ids,
                "request_id": telemetry.request_id.get(),
                "warnings": made.warnings,
            }
        )

    async def interactions(self, request: Request) -> Response:
        value = await self._json_of(request)
        if isinstance(value, dict) and "interactions" in value:
            rows = reading.read_body(schemas.InteractionsBody, value, self._context).interactions
        else:
            rows = [reading.read_body(schemas.BuyerInteractionIn, value, self._context)]
        by_buyer: dict[str, list[Any]] = {}
        for row in rows:
            by_buyer.setdefault(row.buyer_id, []).append(row.interaction())
        additions = [Addition(buyer_id, given) for buyer_id, given in by_buyer.items()]
        stored = await _live(request).pipeline.add(additions, self._deadline())
        return _json({"stored": stored, "request_id": telemetry.request_id.get()})

    async def healthz(self, request: Request) -> Response:
        return _json({"status": "alive"})

    async def readyz(self, request: Request) -> Response:
        found = await health.check(_live(request).dependencies)
        status = "ready" if not found.degraded else "degraded" if found.ready else "unavailable"
        answer = {"status": status, "dependencies": found.dependencies, "degraded": found.degraded}
        return _json(answer, 200 if found.ready else 503)

    async def metrics(self, request: Request) -> Response:
        return Response(metrics.exposition(), media_type=CONTENT_TYPE_LATEST)

    def _deadline(self) -> Deadline:
        return Deadline.after(self._settings.request_timeout_seconds)

    def _query_of(self, request: Request) -> bytes:
        query: bytes = request.scope["query_string"]
        if len(query) > self._settings.max_query_bytes:
            raise reading.QueryTooLarge(self._settings.max_query_bytes)
        return query

    async def _json_of(self, request: Request) -> Any:
        limit = self._settings.max_body_bytes
        stated = request.headers.get("content-length", "")
        if stated.isdigit() and int(stated) > limit:
            raise reading.BodyTooLarge(int(stated), limit)
        try:
            # a drain waits for every request, and one whose body never ends would hold it
            async with asyncio.timeout(self._settings.body_timeout_seconds):
                body = await _body(request, limit)
        except TimeoutError:
            raise reading.BodyTooSlow(self._settings.body_timeout_seconds) from None
        return reading.read_json(body)


async def _body(request: Request, limit: int) -> bytes:
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise reading.BodyTooLarge(size, limit)
        parts.append(part)
    return b"".join(parts)


def _live(request: Request) -> Live:
    live: Live = request.state.live
    return live


def _json(value: object, status: int = 200) -> Response:
    return Response(orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY), status, media_type="application/json")


def list_response(route: str, found: ProductList) -> Response:
    """A list of products as JSON, counted in the metrics under its route."""
    metrics.answers(route, found.source).inc()
    answer = {
        "product_ids": wire.unpack_ids(found.hits.packed_ids),
        "scores": found.hits.scores,
        "model_version": found.hits.version,
        "source": found.source,
        "request_id": telemetry.request_id.get(),
        "warnings": found.warnings,
    }
    if found.products is not None:
        answer["products"] = [_product(one) for one in found.products]
    return _json(answer)


def _product(one: retrieval_pb2.Product) -> dict[str, object]:
    return {
        "product_id": one.product_id,
        "title": one.title,
        "brand": one.brand,
        "category": one.category,
        "price": one.price if one.HasField("price") else None,
        "currency": one.currency,
        "in_stock": one.in_stock,
    }
