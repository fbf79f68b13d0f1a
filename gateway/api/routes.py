"""One handler per route: decode, call, encode. Plain Starlette handlers, because they are the fastest."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TypeVar

from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from gateway import health, metrics
from gateway.admission import (
    EXPENSIVE,
    SMALL_BODY,
    SUGGEST_COST,
    Admission,
    AdmissionLimits,
    BodyRoom,
    cost_of_encode,
    cost_of_list,
    cost_of_store,
)
from gateway.api.product_routes import NDJSON, ProductRoutes
from gateway.api.releases import ReleaseRoutes
from gateway.api.responses import json_response, list_response, product_document, search_response, trending_response
from gateway.api.rule_routes import RuleDesk, RuleRoutes
from gateway.api.views import AudienceAnswer, BuyersAnswer, ExperimentsAnswer, Parts, SearchesAnswer, ViewRoutes
from gateway.auth.guard import Guard, PublicUse, check_buyer
from gateway.auth.keys import Scope
from gateway.clients.deadline import Deadline
from gateway.clients.releases import Releases
from gateway.experiments.serving import LiveExperiments
from gateway.health import Dependency
from gateway.history.clock import SharedClock
from gateway.live.store import CatalogueStore
from gateway.pipeline import buyer_lists, habit_lists, histories, product_lists, searches
from gateway.pipeline.answers import ProductList
from gateway.pipeline.parts import Pipeline
from gateway.schemas import parsing, requests
from gateway.schemas.answers import (
    AgainAnswer,
    EncodeBuyerAnswer,
    ForgottenAnswer,
    HistoryAnswer,
    InteractionsAnswer,
    ListAnswer,
    MergedAnswer,
    ProductsAnswer,
    SearchAnswer,
    SuggestAnswer,
    TrendingAnswer,
)
from gateway.schemas.fields import Context
from gateway.schemas.products import (
    ChangeAnswer,
    ChangedProductsAnswer,
    ChangeProductsQuery,
    ProductBody,
    ProductPatch,
    ProductPatchRow,
    ProductRow,
)
from gateway.schemas.rules import PreviewAnswer, PreviewBody, RulesAnswer, RulesBody, RulesHistoryAnswer, UndoBody
from gateway.searches import SearchCounts
from gateway.settings import GatewaySettings
from twotower.errors import InvalidInput
from twotower.event_log import GUEST, InteractionRecord, ListRecord
from twotower.events import EventSchema, check_id
from twotower.experiments import recommendation_id
from twotower.serving import telemetry

Handler = Callable[[Request], Awaitable[Response]]
Parsed = TypeVar("Parsed")
ListedQuery = requests.RetrieveQuery | requests.AgainQuery | requests.VisitedQuery
_ROUTES: dict[type[ListedQuery], str] = {
    requests.RetrieveQuery: "/retrieve",
    requests.SimilarQuery: "/similar",
    requests.SearchQuery: "/search",
    requests.PopularQuery: "/popular",
    requests.AgainQuery: "/again",
    requests.TrendingQuery: "/trending",
    requests.TogetherQuery: "/together",
    requests.CompleteBody: "/complete",
}


@dataclass(frozen=True)
class RouteSpec:
    """One route of the API: its handler, who may ask it, and what /docs says about it.

    `scope` None: everyone. `public`: what a key of scope `public` needs.
    """

    method: str
    path: str
    handler: Handler
    summary: str
    answer: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    bodies: tuple[type[BaseModel], ...] = field(default=())
    scope: Scope | None = None
    public: PublicUse = "nothing"
    body_type: str = "application/json"


@dataclass(frozen=True)
class Live:
    """What the lifespan opens and keeps in the application's state while the process serves."""

    pipeline: Pipeline
    dependencies: list[Dependency]
    releases: Releases
    experiments: LiveExperiments
    searches: SearchCounts
    rules: RuleDesk
    catalogue: CatalogueStore | None = None


class Routes:
    """The handlers. They take the pipeline from the request's state, where the lifespan puts it."""

    def __init__(self, settings: GatewaySettings, guard: Guard, clock: SharedClock) -> None:
        self._settings = settings
        self._admission = Admission(
            AdmissionLimits(
                settings.max_cost, settings.max_expensive_cost, settings.expensive_share, settings.max_bodies_mb << 20
            )
        )
        self._guard = guard
        self._clock = clock
        self._releases = ReleaseRoutes(lambda request: _live(request).releases, settings.request_timeout_seconds)
        self._views = ViewRoutes(
            lambda request: Parts(_live(request).pipeline, _live(request).experiments, _live(request).searches),
            self._admission,
            settings.request_timeout_seconds,
        )
        # only the names matter here; the weights are part of a model version
        self._events = EventSchema(dict.fromkeys(settings.event_types, 1.0))
        self._products = ProductRoutes(
            lambda request, content_type: self._body_of(request, cost_of_encode, content_type),
            lambda request: _live(request).catalogue,
            self._context,
            settings.max_products,
        )
        self._rules = RuleRoutes(
            lambda request, content_type: self._body_of(request, cost_of_encode, content_type),
            lambda request: _live(request).rules,
            self._context,
            settings.request_timeout_seconds,
        )

    def table(self) -> list[RouteSpec]:
        """Every route, each behind the guard."""
        return [
            spec
            if spec.scope is None
            else replace(spec, handler=self._guard.protect(spec.handler, spec.scope, spec.public))
            for spec in self._unguarded()
        ]

    def _unguarded(self) -> list[RouteSpec]:
        return [
            _list_route("/retrieve", self.retrieve, "Products for a known buyer", requests.RetrieveQuery, "buyer"),
            RouteSpec(
                "POST",
                "/encode_buyer",
                self.encode_buyer,
                "Encodes a buyer from interactions, and stores them",
                EncodeBuyerAnswer,
                bodies=(requests.EncodeBuyerBody,),
                scope="write",
                public="buyer",
            ),
            _list_route("/similar", self.similar, "Products similar to a product", requests.SimilarQuery, "products"),
            _list_route("/together", self.together, "Products bought together", requests.TogetherQuery, "products"),
            RouteSpec(
                "POST",
                "/complete",
                self.complete,
                "Products that complete a cart",
                ListAnswer,
                bodies=(requests.CompleteBody,),
                scope="read",
                public="products",
            ),
            RouteSpec(
                "GET",
                "/search",
                self.search,
                "Products for a search text",
                SearchAnswer,
                requests.SearchQuery,
                scope="read",
                public="products",
            ),
            RouteSpec(
                "GET",
                "/suggest",
                self.suggest,
                "Completions of what is typed so far",
                SuggestAnswer,
                requests.SuggestQuery,
                scope="read",
                public="products",
            ),
            RouteSpec(
                "GET",
                "/history",
                self.history,
                "The stored interactions of a buyer, newest first",
                HistoryAnswer,
                requests.HistoryQuery,
                scope="read",
            ),
            RouteSpec(
                "GET",
                "/products",
                self.products,
                "Title, brand, category, price and stock of products",
                ProductsAnswer,
                requests.ProductsQuery,
                scope="read",
            ),
            _list_route("/popular", self.popular, "The most popular products", requests.PopularQuery, "products"),
            RouteSpec(
                "GET",
                "/again",
                self.again,
                "What a buyer buys regularly and is due",
                AgainAnswer,
                requests.AgainQuery,
                scope="read",
                public="buyer",
            ),
            RouteSpec(
                "GET",
                "/trending",
                self.trending,
                "Products that rise against their own past",
                TrendingAnswer,
                requests.TrendingQuery,
                scope="read",
                public="products",
            ),
            RouteSpec(
                "POST",
                "/interactions",
                self.interactions,
                "Stores one or more interactions",
                InteractionsAnswer,
                bodies=(requests.BuyerInteractionIn, requests.InteractionsBody),
                scope="write",
                public="buyer",
            ),
            RouteSpec(
                "POST",
                "/buyers/{buyer_id}/merge",
                self.merge,
                "Makes a guest's history part of a buyer's",
                MergedAnswer,
                bodies=(requests.MergeBody,),
                scope="write",
            ),
            RouteSpec(
                "DELETE",
                "/buyers/{buyer_id}",
                self.forget,
                "Removes a buyer's history, and keeps it from coming back",
                ForgottenAnswer,
                scope="admin",
            ),
            *_product_routes(self._products),
            *self._admin(),
            *_rule_routes(self._rules),
            RouteSpec("GET", "/healthz", self.healthz, "Whether the process is alive"),
            RouteSpec("GET", "/readyz", self.readyz, "Whether it can answer, and what does not work"),
            RouteSpec("GET", "/metrics", self.metrics, "Prometheus metrics", scope="admin"),
        ]

    def _admin(self) -> list[RouteSpec]:
        ours = self._releases
        return [
            RouteSpec("GET", "/versions", ours.versions, "Model versions with their figures", scope="admin"),
            RouteSpec("GET", "/versions/{version}/report", ours.report, "A version's report", scope="admin"),
            RouteSpec("POST", "/versions/{version}/publish", ours.publish, "Publishes a version", scope="admin"),
            RouteSpec(
                "GET",
                "/versions/{version}/retrieve",
                self.retrieve_of,
                "A version's products for a known buyer, outside all experiments and not logged",
                ListAnswer,
                requests.RetrieveQuery,
                scope="admin",
            ),
            RouteSpec(
                "GET",
                "/versions/{version}/search",
                self.search_of,
                "A version's products for a search text, not logged",
                SearchAnswer,
                requests.SearchQuery,
                scope="admin",
            ),
            RouteSpec(
                "GET",
                "/experiments",
                self._views.experiments,
                "The experiments in force with their counts",
                ExperimentsAnswer,
                scope="admin",
            ),
            RouteSpec(
                "GET",
                "/searches",
                self._views.searches,
                "What is searched most, and what of it finds nothing",
                SearchesAnswer,
                scope="admin",
            ),
            RouteSpec("GET", "/buyers", self._views.buyers, "Buyers who were active last", BuyersAnswer, scope="admin"),
            RouteSpec(
                "GET",
                "/audience",
                self._views.audience,
                "Buyers among the latest who are recommended a product",
                AudienceAnswer,
                requests.AudienceQuery,
                scope="admin",
            ),
            RouteSpec("GET", "/map", ours.map, "The popular products on a plane", scope="admin"),
        ]

    async def retrieve(self, request: Request) -> Response:
        query = parsing.read_query(requests.RetrieveQuery, self._query_of(request), self._context())
        check_buyer(request, query.owner)
        live, deadline = _live(request), self._deadline()
        plan = live.experiments.plan(query)

        def log_shadow(asked: requests.RetrieveQuery, answer: ProductList) -> None:
            if live.pipeline.log and live.pipeline.log.takes_list():
                live.pipeline.log.served(_list_record(asked, answer, self._clock.good_ms()), "shadows")

        async def ask() -> ProductList:
            return await live.experiments.retrieve(plan, live.pipeline, deadline, log_shadow)

        return list_response("/retrieve", await self._find(live.pipeline, plan.query, deadline, ask, plan.lists))

    async def similar(self, request: Request) -> Response:
        query = parsing.read_query(requests.SimilarQuery, self._query_of(request), self._context())
        pipeline, deadline = _live(request).pipeline, self._deadline()
        return await self._list(pipeline, query, deadline, lambda: product_lists.similar(pipeline, query, deadline))

    async def together(self, request: Request) -> Response:
        query = parsing.read_query(requests.TogetherQuery, self._query_of(request), self._context())
        pipeline, deadline = _live(request).pipeline, self._deadline()
        return await self._list(pipeline, query, deadline, lambda: product_lists.together(pipeline, query, deadline))

    async def complete(self, request: Request) -> Response:
        async with self._body_of(request, cost_of_store) as given:
            body = parsing.read_body(requests.CompleteBody, parsing.read_json(given.body), self._context())
            if body.buyer_id is not None:
                check_buyer(request, body.buyer_id)
            pipeline = _live(request).pipeline
            return await self._list(
                pipeline, body, given.deadline, lambda: product_lists.together(pipeline, body, given.deadline)
            )

    async def search(self, request: Request) -> Response:
        query = parsing.read_query(requests.SearchQuery, self._query_of(request), self._context())
        pipeline, deadline = _live(request).pipeline, self._deadline()
        answer = await self._find(pipeline, query, deadline, lambda: searches.search(pipeline, query, deadline))
        if query.understand:
            _live(request).searches.count(query.q, len(answer.hits.scores) > 0 and not answer.hits.is_below_noise)
        return search_response(query.q, answer)

    async def retrieve_of(self, request: Request) -> Response:
        query = parsing.read_query(requests.RetrieveQuery, self._query_of(request), self._context())
        pipeline, deadline, version = _live(request).pipeline, self._deadline(), request.path_params["version"]
        answer = await self._admission.run(
            cost_of_list(query), deadline, lambda: buyer_lists.retrieve(pipeline, query, deadline, version)
        )
        return list_response("/retrieve", answer)

    async def search_of(self, request: Request) -> Response:
        query = parsing.read_query(requests.SearchQuery, self._query_of(request), self._context())
        pipeline, deadline, version = _live(request).pipeline, self._deadline(), request.path_params["version"]
        answer = await self._admission.run(
            cost_of_list(query), deadline, lambda: searches.search(pipeline, query, deadline, version)
        )
        return search_response(query.q, answer)

    async def suggest(self, request: Request) -> Response:
        query = parsing.read_query(requests.SuggestQuery, self._query_of(request), self._context())
        pipeline, deadline = _live(request).pipeline, self._deadline()
        answer = await self._admission.run(SUGGEST_COST, deadline, lambda: searches.suggest(pipeline, query, deadline))
        return json_response(
            {
                "suggestions": [
                    {"text": one.text, "kind": one.kind, "products": one.products} for one in answer.suggestions
                ],
                "model_version": answer.version,
                "request_id": telemetry.request_id.get(),
            }
        )

    async def history(self, request: Request) -> Response:
        query = parsing.read_query(requests.HistoryQuery, self._query_of(request), self._context())
        pipeline, deadline = _live(request).pipeline, self._deadline()
        stored = await self._admission.run(
            SUGGEST_COST, deadline, lambda: histories.stored(pipeline, query.buyer_id, deadline)
        )
        rows = [
            {"product_id": one.product_id, "event_type": one.event_type, "timestamp": one.timestamp_ms}
            for one in stored
        ]
        return json_response(
            {"buyer_id": query.buyer_id, "interactions": rows, "request_id": telemetry.request_id.get()}
        )

    async def products(self, request: Request) -> Response:
        query = parsing.read_query(requests.ProductsQuery, self._query_of(request), self._context())
        pipeline, deadline = _live(request).pipeline, self._deadline()
        found = await self._admission.run(1.0, deadline, lambda: product_lists.products(pipeline, query.id, deadline))
        return json_response(
            {
                "products": [product_document(one) for one in found if one.found],
                "unknown_product_ids": [one.product_id for one in found if not one.found],
                "request_id": telemetry.request_id.get(),
            }
        )

    async def popular(self, request: Request) -> Response:
        query = parsing.read_query(requests.PopularQuery, self._query_of(request), self._context())
        pipeline, deadline = _live(request).pipeline, self._deadline()
        return await self._list(pipeline, query, deadline, lambda: buyer_lists.popular(pipeline, query, deadline))

    async def again(self, request: Request) -> Response:
        query = parsing.read_query(requests.AgainQuery, self._query_of(request), self._context())
        check_buyer(request, query.owner)
        pipeline, deadline, now_ms = _live(request).pipeline, self._deadline(), self._clock.good_ms()
        return await self._list(pipeline, query, deadline, lambda: habit_lists.again(pipeline, query, now_ms, deadline))

    async def trending(self, request: Request) -> Response:
        query = parsing.read_query(requests.TrendingQuery, self._query_of(request), self._context())
        pipeline, deadline = _live(request).pipeline, self._deadline()
        answer = await self._find(pipeline, query, deadline, lambda: habit_lists.trending(pipeline, query, deadline))
        return trending_response(answer)

    async def encode_buyer(self, request: Request) -> Response:
        async with self._body_of(request, cost_of_encode) as given:
            body = await given.read(self._read_encode_buyer)
            check_buyer(request, body.buyer_id)
            answer = await histories.encode_buyer(
                _live(request).pipeline, body.buyer_id, body.interactions(), given.deadline
            )
        vector = answer.encoded.vector
        return json_response(
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
        async with self._body_of(request, cost_of_store) as given:
            records = await given.read(self._read_interactions)
            for one in records:
                check_buyer(request, one.owner)
            added = await histories.add(_live(request).pipeline, records, given.deadline)
        _live(request).experiments.count_clicks(records)
        return json_response(
            {
                "stored": added.stored,
                "unknown_product_ids": added.unknown_product_ids,
                "request_id": telemetry.request_id.get(),
                "warnings": added.warnings,
            }
        )

    async def merge(self, request: Request) -> Response:
        buyer_id = check_id(request.path_params["buyer_id"], "buyer_id")
        if buyer_id.startswith(GUEST):
            raise InvalidInput("buyer_id", buyer_id, "is a guest's; a guest is merged into a buyer")
        async with self._body_of(request, cost_of_store) as given:
            body = parsing.read_body(requests.MergeBody, parsing.read_json(given.body), self._context())
            merged = await histories.merge(_live(request).pipeline, buyer_id, body.session_id, self._clock.good_ms())
        return json_response({"merged": merged, "request_id": telemetry.request_id.get()})

    async def forget(self, request: Request) -> Response:
        buyer_id = check_id(request.path_params["buyer_id"], "buyer_id")
        removed = await histories.forget(_live(request).pipeline, buyer_id)
        return json_response({"removed": removed, "request_id": telemetry.request_id.get()})

    async def healthz(self, request: Request) -> Response:
        return json_response({"status": "alive"})

    async def readyz(self, request: Request) -> Response:
        state = await health.check(_live(request).dependencies)
        status = "ready" if not state.degraded else "degraded" if state.ready else "unavailable"
        answer = {"status": status, "dependencies": state.dependencies, "degraded": state.degraded}
        return json_response(answer, 200 if state.ready else 503)

    async def metrics(self, request: Request) -> Response:
        return Response(metrics.exposition(), media_type=CONTENT_TYPE_LATEST)

    def _context(self) -> Context:
        return Context(self._events, self._settings.max_k, self._settings.max_interactions, self._clock.latest_ms())

    def _deadline(self) -> Deadline:
        return Deadline.after(self._settings.request_timeout_seconds)

    def _query_of(self, request: Request) -> bytes:
        query: bytes = request.scope["query_string"]
        if len(query) > self._settings.max_query_bytes:
            raise parsing.QueryTooLarge(self._settings.max_query_bytes)
        return query

    async def _list(
        self, pipeline: Pipeline, query: ListedQuery, deadline: Deadline, ask: Callable[[], Awaitable[ProductList]]
    ) -> Response:
        return list_response(_ROUTES[type(query)], await self._find(pipeline, query, deadline, ask))

    async def _find(
        self,
        pipeline: Pipeline,
        query: ListedQuery,
        deadline: Deadline,
        ask: Callable[[], Awaitable[ProductList]],
        lists: int = 1,
    ) -> ProductList:
        """The list that `ask` finds, if there is room for what `lists` of them cost. Logs it."""
        answer = await self._admission.run(lists * cost_of_list(query), deadline, ask)
        if pipeline.log and pipeline.log.takes_list():
            pipeline.log.served(_list_record(query, answer, self._clock.good_ms()))
        await pipeline.note_shown(query, answer)
        return answer

    @asynccontextmanager
    async def _body_of(
        self, request: Request, cost_of: Callable[[int], float], content_type: str = "application/json"
    ) -> AsyncIterator[_Given]:
        """The whole body, when there is room for what it costs. Refuses before reading it if the head says enough."""
        parsing.check_content_type(request.headers.get("content-type", ""), content_type)
        is_gzip = parsing.is_gzip(request.headers.get("content-encoding", ""))
        limit, declared = self._settings.max_body_bytes, request.headers.get("content-length", "")
        size = int(declared[:20]) if declared.isdigit() else 0
        if size > limit:
            raise parsing.BodyTooLarge(size, limit)
        self._admission.check(cost_of(size))
        with self._admission.body() as room:
            room.need(size)
            try:
                # a drain waits for running requests, so a body that never ends must not keep one running
                async with asyncio.timeout(self._settings.body_timeout_seconds):
                    body = await _body(request, limit, room)
            except TimeoutError:
                raise parsing.BodyTooSlow(self._settings.body_timeout_seconds) from None
            if is_gzip:
                body = parsing.unpack_gzip(body, limit)
                room.need(len(body))
            cost, deadline = cost_of(len(body)), self._deadline()
            async with self._admission.admitted(cost, deadline):
                yield _Given(body, deadline, is_expensive=cost > EXPENSIVE)

    def _read_encode_buyer(self, body: bytes) -> requests.EncodeBuyerBody:
        return parsing.read_body(requests.EncodeBuyerBody, parsing.read_json(body), self._context())

    def _read_interactions(self, body: bytes) -> list[InteractionRecord]:
        value = parsing.read_json(body)
        if isinstance(value, dict) and "interactions" in value:
            rows = parsing.read_body(requests.InteractionsBody, value, self._context()).interactions
        else:
            rows = [parsing.read_body(requests.BuyerInteractionIn, value, self._context())]
        return [row.record() for row in rows]


@dataclass(frozen=True)
class _Given:
    """A body that has arrived, and the deadline of the request."""

    body: bytes
    deadline: Deadline
    is_expensive: bool

    async def read(self, parse: Callable[[bytes], Parsed]) -> Parsed:
        """The parsed body. A large one is parsed in a thread, so that other requests go on meanwhile."""
        return await asyncio.to_thread(parse, self.body) if self.is_expensive else parse(self.body)


def _list_route(path: str, handler: Handler, summary: str, query: type[BaseModel], public: PublicUse) -> RouteSpec:
    return RouteSpec("GET", path, handler, summary, ListAnswer, query, scope="read", public=public)


def _product_routes(handlers: ProductRoutes) -> list[RouteSpec]:
    one, answer = "/products/{product_id}", ChangeAnswer
    return [
        RouteSpec("PUT", one, handlers.put, "Adds or replaces a product", answer, bodies=(ProductBody,), scope="write"),
        RouteSpec(
            "PATCH",
            one,
            handlers.patch,
            "Changes some fields of a product",
            answer,
            bodies=(ProductPatch,),
            scope="write",
        ),
        RouteSpec("DELETE", one, handlers.delete, "Takes a product out of every answer", answer, scope="write"),
        RouteSpec(
            "POST",
            "/products",
            handlers.post,
            "Adds, replaces or changes many products, one a line",
            ChangedProductsAnswer,
            ChangeProductsQuery,
            bodies=(ProductRow, ProductPatchRow),
            body_type=NDJSON,
            scope="write",
        ),
    ]


def _rule_routes(ours: RuleRoutes) -> list[RouteSpec]:
    def spec(
        method: str, path: str, handler: Handler, summary: str, answer: type[BaseModel], *bodies: type[BaseModel]
    ) -> RouteSpec:
        return RouteSpec(method, path, handler, summary, answer, bodies=bodies, scope="admin")

    return [
        spec("GET", "/rules", ours.rules, "The rules in force, with warnings", RulesAnswer),
        spec("PUT", "/rules", ours.put, "Puts other rules in force", RulesAnswer, RulesBody),
        spec("GET", "/rules/history", ours.history, "Earlier rules: who, when and why", RulesHistoryAnswer),
        spec("POST", "/rules/undo", ours.undo, "Puts earlier rules in force again", RulesAnswer, UndoBody),
        spec("POST", "/rules/preview", ours.preview, "A list before and after", PreviewAnswer, PreviewBody),
    ]


async def _body(request: Request, limit: int, room: BodyRoom) -> bytes:
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise parsing.BodyTooLarge(size, limit)
        if size > SMALL_BODY:
            # one without a declared length may become as long as any
            room.need(limit if "content-length" not in request.headers else size)
        parts.append(part)
    return b"".join(parts)


def _live(request: Request) -> Live:
    live: Live = request.state.live
    return live


def _list_record(query: ListedQuery, answer: ProductList, now_ms: int) -> ListRecord:
    experiment, arm, teams = answer.assignment or (None, None, None)
    return ListRecord(
        recommendation_id=recommendation_id(telemetry.request_id.get(), answer.assignment),
        served_ms=now_ms,
        route=_ROUTES[type(query)],
        slot=query.slot,
        buyer_id=query.buyer_id if isinstance(query, requests.BuyerOrGuest | requests.CompleteBody) else None,
        session_id=query.session_id,
        query=query.q if isinstance(query, requests.SearchQuery) else None,
        product_id=query.product_id if isinstance(query, requests.SimilarQuery | requests.TogetherQuery) else None,
        model_version=answer.hits.version,
        source=answer.source,
        # as one text, which costs less to keep and to write than a hundred
        product_ids=answer.hits.packed_ids.replace("\0", "\n"),
        explored=answer.explored,
        experiment=experiment,
        arm=arm,
        teams=teams,
    )
