"""One handler per route: decode, call, encode. Plain Starlette handlers, because they are the fastest."""

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
from gateway.schemas import parsing, requests
from gateway.schemas.answers import EncodeBuyerAnswer, InteractionsAnswer, ListAnswer
from gateway.schemas.fields import Context
from gateway.settings import GatewaySettings
from twotower.events import EventSchema, Interaction
from twotower.pb import retrieval_pb2
from twotower.serving import telemetry, wire

Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True)
class RouteSpec:
    """One route of the API: its handler, and what /docs says about it."""

    method: str
    path: str
    handler: Handler
    summary: str
    answer: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    bodies: tuple[type[BaseModel], ...] = field(default=())


@dataclass(frozen=True)
class Live:
    """What the lifespan opens and keeps in the application's state while the process serves."""

    pipeline: Pipeline
    dependencies: list[Dependency]


class Routes:
    """The handlers. They take the pipeline from the request's state, where the lifespan puts it."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._settings = settings
        # only the names matter here; the weights are part of a model version
        events = EventSchema(dict.fromkeys(settings.event_types, 1.0))
        self._context = Context(events, settings.max_k, settings.max_interactions)

    def table(self) -> list[RouteSpec]:
        """Every route."""
        return [
            _list_route("/retrieve", self.retrieve, "Products for a known buyer", requests.RetrieveQuery),
            RouteSpec(
                "POST",
                "/encode_buyer",
                self.encode_buyer,
                "Encodes a buyer from interactions, and stores them",
                EncodeBuyerAnswer,
                bodies=(requests.EncodeBuyerBody,),
            ),
            _list_route("/similar", self.similar, "Products similar to a product", requests.SimilarQuery),
            _list_route("/search", self.search, "Products for a search text", requests.SearchQuery),
            RouteSpec(
                "POST",
                "/interactions",
                self.interactions,
                "Stores one or more interactions",
                InteractionsAnswer,
                bodies=(requests.BuyerInteractionIn, requests.InteractionsBody),
            ),
            RouteSpec("GET", "/healthz", self.healthz, "Whether the process is alive"),
            RouteSpec("GET", "/readyz", self.readyz, "Whether it can answer, and what does not work"),
            RouteSpec("GET", "/metrics", self.metrics, "Prometheus metrics"),
        ]

    async def retrieve(self, request: Request) -> Response:
        query = parsing.read_query(requests.RetrieveQuery, self._query_of(request), self._context)
        return list_response("/retrieve", await _live(request).pipeline.retrieve(query, self._deadline()))

    async def similar(self, request: Request) -> Response:
        query = parsing.read_query(requests.SimilarQuery, self._query_of(request), self._context)
        return list_response("/similar", await _live(request).pipeline.similar(query, self._deadline()))

    async def search(self, request: Request) -> Response:
        query = parsing.read_query(requests.SearchQuery, self._query_of(request), self._context)
        return list_response("/search", await _live(request).pipeline.search(query, self._deadline()))

    async def encode_buyer(self, request: Request) -> Response:
        body = parsing.read_body(requests.EncodeBuyerBody, await self._json_of(request), self._context)
        answer = await _live(request).pipeline.encode_buyer(body.buyer_id, body.interactions(), self._deadline())
        vector = answer.encoded.vector
        return _json(
            {
                "buyer_id": body.buyer_id,
                "buyer_embedding": vector.floats(),
                "dimension": vector.dimension,
                "model_version": vector.version,
                "source": "interactions",
                "used": answer.encoded.used,
                "stored": answer.stored,
                "unknown_product_ids": answer.encoded.unknown_product_ids,
                "request_id": telemetry.request_id.get(),
                "warnings": answer.warnings,
            }
        )

    async def interactions(self, request: Request) -> Response:
        value = await self._json_of(request)
        if isinstance(value, dict) and "interactions" in value:
            rows = parsing.read_body(requests.InteractionsBody, value, self._context).interactions
        else:
            rows = [parsing.read_body(requests.BuyerInteractionIn, value, self._context)]
        by_buyer: dict[str, list[Interaction]] = {}
        for row in rows:
            by_buyer.setdefault(row.buyer_id, []).append(row.interaction())
        additions = [Addition(buyer_id, interactions) for buyer_id, interactions in by_buyer.items()]
        stored = await _live(request).pipeline.add(additions, self._deadline())
        return _json({"stored": stored, "request_id": telemetry.request_id.get()})

    async def healthz(self, request: Request) -> Response:
        return _json({"status": "alive"})

    async def readyz(self, request: Request) -> Response:
        state = await health.check(_live(request).dependencies)
        status = "ready" if not state.degraded else "degraded" if state.ready else "unavailable"
        answer = {"status": status, "dependencies": state.dependencies, "degraded": state.degraded}
        return _json(answer, 200 if state.ready else 503)

    async def metrics(self, request: Request) -> Response:
        return Response(metrics.exposition(), media_type=CONTENT_TYPE_LATEST)

    def _deadline(self) -> Deadline:
        return Deadline.after(self._settings.request_timeout_seconds)

    def _query_of(self, request: Request) -> bytes:
        query: bytes = request.scope["query_string"]
        if len(query) > self._settings.max_query_bytes:
            raise parsing.QueryTooLarge(self._settings.max_query_bytes)
        return query

    async def _json_of(self, request: Request) -> Any:
        limit = self._settings.max_body_bytes
        declared = request.headers.get("content-length", "")
        if declared.isdigit() and int(declared) > limit:
            raise parsing.BodyTooLarge(int(declared), limit)
        try:
            # a drain waits for running requests, so a body that never ends must not keep one running
            async with asyncio.timeout(self._settings.body_timeout_seconds):
                body = await _body(request, limit)
        except TimeoutError:
            raise parsing.BodyTooSlow(self._settings.body_timeout_seconds) from None
        return parsing.read_json(body)


def _list_route(path: str, handler: Handler, summary: str, query: type[BaseModel]) -> RouteSpec:
    return RouteSpec("GET", path, handler, summary, ListAnswer, query)


async def _body(request: Request, limit: int) -> bytes:
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise parsing.BodyTooLarge(size, limit)
        parts.append(part)
    return b"".join(parts)


def _live(request: Request) -> Live:
    live: Live = request.state.live
    return live


def _json(value: object, status: int = 200) -> Response:
    return Response(orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY), status, media_type="application/json")


def list_response(route: str, answer: ProductList) -> Response:
    """A list of products as JSON; counts it in the metrics under its route."""
    metrics.answers(route, answer.source).inc()
    document = {
        "product_ids": wire.unpack_ids(answer.hits.packed_ids),
        "scores": answer.hits.scores,
        "model_version": answer.hits.version,
        "source": answer.source,
        "request_id": telemetry.request_id.get(),
        "warnings": answer.warnings,
    }
    if answer.products is not None:
        document["products"] = [_product(product) for product in answer.products]
    return _json(document)


def _product(product: retrieval_pb2.Product) -> dict[str, object]:
    return {
        "product_id": product.product_id,
        "title": product.title,
        "brand": product.brand,
        "category": product.category,
        "price": product.price if product.HasField("price") else None,
        "currency": product.currency,
        "in_stock": product.in_stock,
    }
