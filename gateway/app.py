"""The application: its routes, its lifespan, and the connections that live as long as it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import grpc
from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp

from gateway.api import openapi
from gateway.api.problems import on_error, on_failure, on_http
from gateway.api.routes import make_routes
from gateway.api.state import Live
from gateway.auth.guard import Guard
from gateway.clients.batching import Limits
from gateway.clients.buyer_client import BuyerClient
from gateway.clients.item_client import ItemClient
from gateway.clients.releases import connect_releases
from gateway.clients.retrieval import connect_retrieval
from gateway.experiments.file import ExperimentsFile
from gateway.experiments.serving import LiveExperiments
from gateway.experiments.switches import Switches
from gateway.exploration import Exploration
from gateway.health import Dependency, grpc_health, retrieval_dependencies
from gateway.history.breaker import Breaker
from gateway.history.clock import SharedClock
from gateway.history.connect import connect_redis
from gateway.history.event_log import EventLog
from gateway.history.kafka_log import connect_kafka
from gateway.history.keeper import HistoryKeeper
from gateway.history.known_products import KnownProducts
from gateway.history.redis_client import RedisClient
from gateway.history.redis_history import RedisHistory
from gateway.history.store import HistoryStore
from gateway.http.access_log import AccessLog
from gateway.http.edge import Edge
from gateway.live.encoding import LiveEncoder
from gateway.live.health import check_replicas
from gateway.live.store import CatalogueStore
from gateway.live_trending import LiveTrending
from gateway.pipeline.parts import Pipeline
from gateway.rules.book import RuleBook
from gateway.rules.checks import RuleChecks
from gateway.rules.serving import LiveRules
from gateway.rules.shown import ShownProducts
from gateway.rules.store import RulesStore
from gateway.searches import SearchCounts
from gateway.settings import GatewaySettings
from twotower.errors import TwoTowerError
from twotower.serving import telemetry, tracing
from twotower.serving.client import connect as open_channel

_DESCRIPTION = "Two-tower retrieval: encodes buyers from their interactions and finds the nearest products."


def create_app(settings: GatewaySettings) -> Edge:
    """The ASGI application of the gateway. Nothing is connected before its lifespan starts.

    Raises SettingsError if the keys file cannot be used, or if the gateway would be open to other machines.
    """
    guard, clock = Guard(settings), SharedClock()
    table = make_routes(settings, guard, clock)
    access = AccessLog() if settings.access_log else None

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        async with AsyncExitStack() as stack:
            stack.callback(tracing.start("gateway", settings))
            if access is not None:
                stack.callback(access.flush)
            await stack.enter_async_context(guard.following())
            live = connect(settings, stack, clock)
            telemetry.freeze_loaded_objects()
            yield {"live": live}

    # FastAPIOffline serves the files of /docs itself: a shop's network may block CDNs
    app = FastAPIOffline(title="Two-tower gateway", lifespan=lifespan, redoc_url=None, redirect_slashes=False)
    for spec in table:
        # an id in a path may hold a slash
        path = spec.path.replace("}", ":path}")
        app.add_route(path, spec.handler, methods=[spec.method], include_in_schema=False)
    described = openapi.document(table, app.title, app.version, _DESCRIPTION)
    app.openapi = lambda: described  # type: ignore[method-assign]
    app.add_exception_handler(TwoTowerError, on_error)
    app.add_exception_handler(HTTPException, on_http)
    # outermost, around the framework's own middleware
    return Edge(
        app,
        handlers={(spec.method, spec.path): spec.handler for spec in table},
        on_error=on_error,
        on_failure=on_failure,
        access=access,
        wrap=lambda application: _with_middleware(application, settings),
        root_path=settings.root_path,
    )


def _with_middleware(application: ASGIApp, settings: GatewaySettings) -> ASGIApp:
    """Refuses other hosts than the allowed ones, and lets pages of some origins call the gateway, if set."""
    if settings.cors_origins:
        application = CORSMiddleware(
            application,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=[
                "Authorization",
                "Content-Type",
                "Traceparent",
                "X-API-Key",
                "X-Buyer-Token",
                "X-Request-ID",
            ],
            expose_headers=["RateLimit", "RateLimit-Policy", "Retry-After", "X-Request-ID"],
        )
    if settings.allowed_hosts:
        application = TrustedHostMiddleware(application, settings.allowed_hosts, www_redirect=False)
    return application


def connect(settings: GatewaySettings, stack: AsyncExitStack, clock: SharedClock) -> Live:
    """Opens the channels and the Redis pool, and builds the pipeline on them. `stack` closes them in reverse order."""
    item, buyer, *shards = _open_channels(settings, stack)
    limits = Limits(
        settings.max_batch,
        settings.max_waiting,
        settings.batches_in_flight,
        settings.batch_patience_seconds,
        settings.hedge_seconds,
    )
    redis = RedisClient(connect_redis(settings), Breaker("Redis", settings.redis_retry_seconds))
    stored = RedisHistory(redis, settings.history_size, clock)
    history = HistoryStore(stored, limits)
    items, buyers = ItemClient(item, limits), BuyerClient(buyer, limits)
    products = connect_retrieval(shards, limits, degrades=_degrades(settings))
    keeper = HistoryKeeper(redis, clock, settings.history_ttl_days)
    for client in (history, items, buyers, products, keeper):
        stack.push_async_callback(client.close)
    log = _open_log(settings, stack, stored)
    book, shown = RuleBook(settings.rules_file, RulesStore(redis)), ShownProducts(redis, limits)
    rules = LiveRules(book, shown, products, clock)
    for closing in (shown, book, rules):
        stack.push_async_callback(closing.close)
    pipeline = Pipeline(
        history,
        items,
        buyers,
        products,
        KnownProducts(products),
        settings.history_size,
        settings.forgotten_file,
        log,
        Exploration(settings.explore) if settings.explore else None,
        rules,
        LiveTrending(redis, clock) if settings.event_log else None,
    )
    # of the accepted events the first one is the click
    click, seconds = settings.event_types[0], settings.request_timeout_seconds
    experiments = LiveExperiments(ExperimentsFile(settings.experiments_file), Switches(redis), click, seconds)
    stack.push_async_callback(experiments.close)
    searches = SearchCounts(redis)
    stack.push_async_callback(searches.close)
    dependencies = _dependencies(settings, channels=(item, buyer, *shards), stored=stored, log=log)
    catalogue = None
    if settings.live_catalogue:
        catalogue = CatalogueStore(redis, products)
        stack.push_async_callback(LiveEncoder(redis, items).close)
        dependencies.append(
            Dependency("live catalogue", partial(check_replicas, redis), "changes of products show late or in part")
        )
    return Live(
        pipeline,
        dependencies,
        connect_releases(shards),
        experiments,
        searches,
        book,
        RuleChecks(products),
        catalogue,
    )


def _degrades(settings: GatewaySettings) -> bool:
    """Whether lists lack the products of a shard that is away, instead of failing."""
    return settings.missing_shard == "degrade"


def _open_channels(settings: GatewaySettings, stack: AsyncExitStack) -> list[grpc.aio.Channel]:
    """Those of the item service, the buyer service, and each shard of the retrieval service."""
    addresses = (settings.item_address, settings.buyer_address, *settings.shard_addresses)
    channels = [open_channel(address, settings.max_message_mb, settings.inner_tls) for address in addresses]
    for channel in channels:
        stack.push_async_callback(channel.close)
    return channels


def _open_log(settings: GatewaySettings, stack: AsyncExitStack, stored: RedisHistory) -> EventLog | None:
    """The event log in Redis or Kafka; None if it is off."""
    if not settings.event_log:
        return None
    if settings.kafka:
        stored.kafka = connect_kafka(settings)
        stack.push_async_callback(stored.kafka.close)
    log = EventLog(stored, settings.event_log_max_mb << 20, settings.event_log_lists)
    stack.push_async_callback(log.close)
    return log


def _dependencies(
    settings: GatewaySettings, channels: Sequence[grpc.aio.Channel], stored: RedisHistory, log: EventLog | None
) -> list[Dependency]:
    """What /readyz looks at, each with what is lost without it. `channels`: in the order of `_open_channels`."""
    item, buyer, *shards = channels
    dependencies = [
        *retrieval_dependencies(shards, degrades=_degrades(settings)),
        Dependency(
            "buyer",
            grpc_health(buyer, "twotower.buyer.v1.BuyerService"),
            "no /encode_buyer; /retrieve answers with popular products",
        ),
        Dependency("item", grpc_health(item, "twotower.item.v1.ItemService"), "no /search"),
        Dependency(
            "redis",
            stored.ping,
            "interactions are not stored, or /retrieve answers with popular products, or both",
        ),
    ]
    if log is not None:
        loss = "served lists are not logged, or interactions are refused, or both"
        dependencies.append(Dependency("event log", log.check, loss))
    return dependencies
