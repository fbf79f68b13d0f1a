"""The application: its lifespan, its routes, and the one translation of our errors to HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import orjson
from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from gateway import openapi, reading
from gateway.access import AccessLog
from gateway.batching import Limits
from gateway.breaker import Breaker
from gateway.edge import Edge
from gateway.health import Dependency, grpc_health
from gateway.history import HistoryStore, RedisHistory, connect_redis
from gateway.pipeline import Pipeline
from gateway.routes import Live, Routes
from gateway.services import BuyerClient, ItemClient, RetrievalClient
from gateway.settings import GatewaySettings
from twotower.errors import (
    DeadlineExceeded,
    InvalidInput,
    NotFound,
    Overloaded,
    TwoTowerError,
    Unavailable,
    VersionNotHeld,
)
from twotower.serving import client, telemetry

_DESCRIPTION = "Two-tower retrieval: buyers' vectors from their interactions, and the products nearest to them."
# the first class that fits decides: the narrow ones before those they derive from
_PROBLEMS: list[tuple[type[TwoTowerError], int, str]] = [
    (reading.Malformed, 400, "Malformed request"),
    (reading.BodyTooSlow, 408, "Body too slow"),
    (reading.BodyTooLarge, 413, "Body too large"),
    (reading.QueryTooLarge, 414, "Query too large"),
    (InvalidInput, 422, "Invalid input"),
    (NotFound, 404, "Not found"),
    (Overloaded, 503, "Overloaded"),
    (VersionNotHeld, 503, "No common model version"),
    (Unavailable, 503, "Unavailable"),
    (DeadlineExceeded, 504, "Deadline exceeded"),
    (TwoTowerError, 500, "Internal error"),
]


def create_app(settings: GatewaySettings) -> Edge:
    """The gateway. Nothing is connected before its lifespan starts."""
    routes = Routes(settings)
    table = routes.table()
    access = AccessLog() if settings.access_log else None

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        async with AsyncExitStack() as stack:
            if access is not None:
                stack.callback(access.flush)
            live = connect(settings, stack)
            telemetry.settle_memory()
            yield {"live": live}

    # /docs from files of its own: a shop's network may not let the browser reach a CDN
    app = FastAPIOffline(title="Two-tower gateway", lifespan=lifespan, redoc_url=None, redirect_slashes=False)
    for spec in table:
        app.add_route(spec.path, spec.handler, methods=[spec.method], include_in_schema=False)
    described = openapi.document(table, app.title, app.version, _DESCRIPTION)
    app.openapi = lambda: described  # type: ignore[method-assign]
    app.add_exception_handler(TwoTowerError, _on_error)
    app.add_exception_handler(HTTPException, _on_http)
    # outside of all that the framework lays around its router
    return Edge(
        app,
        handlers={(spec.method, spec.path): spec.handler for spec in table},
        on_error=_on_error,
        on_failure=_failed,
        access=access,
    )


def connect(settings: GatewaySettings, stack: AsyncExitStack) -> Live:
    """Channels, the Redis pool and all that stands on them; `stack` closes them, the last made first."""
    addresses = (settings.item_address, settings.buyer_address, settings.retrieval_address)
    channels = [client.connect(address, settings.max_message_mb) for address in addresses]
    for channel in channels:
        stack.push_async_callback(channel.close)
    item, buyer, retrieval = channels
    limits = Limits(
        settings.max_batch, settings.max_waiting, settings.batches_in_flight, settings.batch_patience_seconds
    )
    redis = RedisHistory(
        connect_redis(settings),
        settings.history_size,
        settings.history_ttl_days,
        Breaker("Redis", settings.redis_retry_seconds),
    )
    history = HistoryStore(redis, limits)
    items, buyers, found = ItemClient(item, limits), BuyerClient(buyer, limits), RetrievalClient(retrieval, limits)
    for one in (history, items, buyers, found):
        stack.push_async_callback(one.close)
    dependencies = [
        Dependency(
            "retrieval", grpc_health(retrieval, "twotower.retrieval.v1.RetrievalService"), "no products", vital=True
        ),
        Dependency(
            "buyer", grpc_health(buyer, "twotower.buyer.v1.BuyerService"), "no /encode_buyer; /retrieve gives popular"
        ),
        Dependency("item", grpc_health(item, "twotower.item.v1.ItemService"), "no /search"),
        Dependency("redis", redis.ping, "interactions are not stored, or /retrieve gives popular, or both"),
    ]
    return Live(Pipeline(history, items, buyers, found, settings.history_size), dependencies)


async def _on_error(request: Request, error: Exception) -> Response:
    kind, status, title = next(one for one in _PROBLEMS if isinstance(error, one[0]))
    detail = error.detail() if isinstance(error, TwoTowerError) else {}
    # nobody waits for the rest of a body any more
    headers = {503: {"Retry-After": "1"}, 408: {"Connection": "close"}}.get(status, {})
    name = "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in kind.__name__).lstrip("-")
    return _problem(request.url.path, status, title, str(error), headers, {"type": f"urn:twotower:{name}", **detail})


async def _on_http(request: Request, error: Exception) -> Response:
    """What the framework itself refuses: no such path, no such method."""
    assert isinstance(error, HTTPException)
    path = request.scope["path"]
    details = {404: f"there is nothing at {path!r}", 405: f"{path} does not take {request.method}"}
    detail = details.get(error.status_code, error.detail)
    return _problem(path, error.status_code, error.detail, detail, dict(error.headers or {}), {})


def _failed(path: str) -> Response:
    request_id = telemetry.request_id.get()
    detail = f"something went wrong here; the log says what, under request id {request_id}"
    return _problem(path, 500, "Internal error", detail, {}, {})


def _problem(
    path: str, status: int, title: str, detail: str, headers: dict[str, str], more: dict[str, object]
) -> Response:
    """RFC 9457."""
    document = {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": detail,
        "instance": path,
        "request_id": telemetry.request_id.get(),
        **more,
    }
    return Response(orjson.dumps(document), status, headers, media_type="application/problem+json")
