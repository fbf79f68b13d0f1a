"""The table of all routes: path, handler, who may ask, and what /docs says. Plain Starlette handlers: the fastest.

The OpenAPI document has the routes in this order.
"""

from __future__ import annotations

from dataclasses import replace

from pydantic import BaseModel

from gateway.admission import Admission, AdmissionLimits
from gateway.api.buyer_routes import BuyerRoutes
from gateway.api.health_routes import alive, ready, show_metrics
from gateway.api.list_finder import ListFinder
from gateway.api.list_routes import ListRoutes
from gateway.api.product_routes import NDJSON, ProductRoutes
from gateway.api.release_routes import ReleaseRoutes
from gateway.api.request_reader import RequestReader
from gateway.api.route import RouteSpec
from gateway.api.rule_routes import RuleRoutes
from gateway.api.search_routes import SearchRoutes
from gateway.api.view_routes import ViewRoutes
from gateway.auth.guard import Guard, Handler, PublicUse
from gateway.history.clock import SharedClock
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
from gateway.schemas.products import (
    ChangeAnswer,
    ChangedProductsAnswer,
    ChangeProductsQuery,
    ProductBody,
    ProductPatch,
    ProductPatchRow,
    ProductRow,
)
from gateway.schemas.requests import (
    AgainQuery,
    AudienceQuery,
    BuyerInteractionIn,
    CompleteBody,
    EncodeBuyerBody,
    HistoryQuery,
    InteractionsBody,
    MergeBody,
    PopularQuery,
    ProductsQuery,
    RetrieveQuery,
    SearchQuery,
    SimilarQuery,
    SuggestQuery,
    TogetherQuery,
    TrendingQuery,
)
from gateway.schemas.rules import PreviewAnswer, PreviewBody, RulesAnswer, RulesBody, RulesHistoryAnswer, UndoBody
from gateway.schemas.views import AudienceAnswer, BuyersAnswer, ExperimentsAnswer, SearchesAnswer
from gateway.settings import GatewaySettings


def make_routes(settings: GatewaySettings, guard: Guard, clock: SharedClock) -> list[RouteSpec]:
    """Every route, each behind the guard. The handlers take what runs from the state of their request."""
    admission = Admission(
        AdmissionLimits(
            settings.max_cost, settings.max_expensive_cost, settings.expensive_share, settings.max_bodies_mb << 20
        )
    )
    reader, finder = RequestReader(settings, admission, clock), ListFinder(admission, clock)
    lists, searches = ListRoutes(reader, finder, clock), SearchRoutes(reader, finder, admission)
    products = ProductRoutes(reader, admission, settings.max_products)
    specs = [
        *_shop_routes(lists, searches, BuyerRoutes(reader, admission, clock), products),
        *_change_routes(products),
        *_admin_routes(ReleaseRoutes(reader), lists, searches, ViewRoutes(reader, admission)),
        *_rule_routes(RuleRoutes(reader)),
        *_health_routes(),
    ]
    return [
        spec if spec.scope is None else replace(spec, handler=guard.protect(spec.handler, spec.scope, spec.public))
        for spec in specs
    ]


def _shop_routes(
    lists: ListRoutes, searches: SearchRoutes, buyers: BuyerRoutes, products: ProductRoutes
) -> list[RouteSpec]:
    return [
        _read("/retrieve", lists.retrieve, "Products for a known buyer", ListAnswer, RetrieveQuery, "buyer"),
        _write(
            "POST",
            "/encode_buyer",
            buyers.encode_buyer,
            "Encodes a buyer from interactions, and stores them",
            EncodeBuyerAnswer,
            EncodeBuyerBody,
            public="buyer",
        ),
        _read("/similar", lists.similar, "Products similar to a product", ListAnswer, SimilarQuery, "products"),
        _read("/together", lists.together, "Products bought together", ListAnswer, TogetherQuery, "products"),
        RouteSpec(
            "POST",
            "/complete",
            lists.complete,
            "Products that complete a cart",
            ListAnswer,
            bodies=(CompleteBody,),
            scope="read",
            public="products",
        ),
        _read("/search", searches.search, "Products for a search text", SearchAnswer, SearchQuery, "products"),
        _read(
            "/suggest", searches.suggest, "Completions of what is typed so far", SuggestAnswer, SuggestQuery, "products"
        ),
        _read(
            "/history", buyers.history, "The stored interactions of a buyer, newest first", HistoryAnswer, HistoryQuery
        ),
        _read(
            "/products",
            products.products,
            "Title, brand, category, price and stock of products",
            ProductsAnswer,
            ProductsQuery,
        ),
        _read("/popular", lists.popular, "The most popular products", ListAnswer, PopularQuery, "products"),
        _read("/again", lists.again, "What a buyer buys regularly and is due", AgainAnswer, AgainQuery, "buyer"),
        _read(
            "/trending",
            lists.trending,
            "Products that rise against their own past",
            TrendingAnswer,
            TrendingQuery,
            "products",
        ),
        _write(
            "POST",
            "/interactions",
            buyers.interactions,
            "Stores one or more interactions",
            InteractionsAnswer,
            BuyerInteractionIn,
            InteractionsBody,
            public="buyer",
        ),
        _write(
            "POST",
            "/buyers/{buyer_id}/merge",
            buyers.merge,
            "Makes a guest's history part of a buyer's",
            MergedAnswer,
            MergeBody,
        ),
        RouteSpec(
            "DELETE",
            "/buyers/{buyer_id}",
            buyers.forget,
            "Removes a buyer's history, and keeps it from coming back",
            ForgottenAnswer,
            scope="admin",
        ),
    ]


def _change_routes(products: ProductRoutes) -> list[RouteSpec]:
    one, answer = "/products/{product_id}", ChangeAnswer
    return [
        _write("PUT", one, products.put, "Adds or replaces a product", answer, ProductBody),
        _write("PATCH", one, products.patch, "Changes some fields of a product", answer, ProductPatch),
        _write("DELETE", one, products.delete, "Takes a product out of every answer", answer),
        RouteSpec(
            "POST",
            "/products",
            products.post,
            "Adds, replaces or changes many products, one a line",
            ChangedProductsAnswer,
            ChangeProductsQuery,
            bodies=(ProductRow, ProductPatchRow),
            body_type=NDJSON,
            scope="write",
        ),
    ]


def _admin_routes(
    releases: ReleaseRoutes, lists: ListRoutes, searches: SearchRoutes, views: ViewRoutes
) -> list[RouteSpec]:
    return [
        _admin("GET", "/versions", releases.versions, "Model versions with their figures"),
        _admin("GET", "/versions/{version}/report", releases.report, "A version's report"),
        _admin("POST", "/versions/{version}/publish", releases.publish, "Publishes a version"),
        _admin(
            "GET",
            "/versions/{version}/retrieve",
            lists.retrieve_of,
            "A version's products for a known buyer, outside all experiments and not logged",
            ListAnswer,
            RetrieveQuery,
        ),
        _admin(
            "GET",
            "/versions/{version}/search",
            searches.search_of,
            "A version's products for a search text, not logged",
            SearchAnswer,
            SearchQuery,
        ),
        _admin(
            "GET", "/experiments", views.experiments, "The experiments in force with their counts", ExperimentsAnswer
        ),
        _admin(
            "GET", "/searches", views.searches, "What is searched most, and what of it finds nothing", SearchesAnswer
        ),
        _admin("GET", "/buyers", views.buyers, "Buyers who were active last", BuyersAnswer),
        _admin(
            "GET",
            "/audience",
            views.audience,
            "Buyers among the latest who are recommended a product",
            AudienceAnswer,
            AudienceQuery,
        ),
        _admin("GET", "/map", releases.map, "The popular products on a plane"),
    ]


def _rule_routes(rules: RuleRoutes) -> list[RouteSpec]:
    return [
        _admin("GET", "/rules", rules.rules, "The rules in force, with warnings", RulesAnswer),
        _admin("PUT", "/rules", rules.put, "Puts other rules in force", RulesAnswer, body=RulesBody),
        _admin("GET", "/rules/history", rules.history, "Earlier rules: who, when and why", RulesHistoryAnswer),
        _admin("POST", "/rules/undo", rules.undo, "Puts earlier rules in force again", RulesAnswer, body=UndoBody),
        _admin("POST", "/rules/preview", rules.preview, "A list before and after", PreviewAnswer, body=PreviewBody),
    ]


def _health_routes() -> list[RouteSpec]:
    return [
        RouteSpec("GET", "/healthz", alive, "Whether the process is alive"),
        RouteSpec("GET", "/readyz", ready, "Whether it can answer, and what does not work"),
        _admin("GET", "/metrics", show_metrics, "Prometheus metrics"),
    ]


def _read(
    path: str,
    handler: Handler,
    summary: str,
    answer: type[BaseModel],
    query: type[BaseModel],
    public: PublicUse = "nothing",
) -> RouteSpec:
    return RouteSpec("GET", path, handler, summary, answer, query, scope="read", public=public)


def _write(
    method: str,
    path: str,
    handler: Handler,
    summary: str,
    answer: type[BaseModel],
    *bodies: type[BaseModel],
    public: PublicUse = "nothing",
) -> RouteSpec:
    return RouteSpec(method, path, handler, summary, answer, bodies=bodies, scope="write", public=public)


def _admin(
    method: str,
    path: str,
    handler: Handler,
    summary: str,
    answer: type[BaseModel] | None = None,
    query: type[BaseModel] | None = None,
    *,
    body: type[BaseModel] | None = None,
) -> RouteSpec:
    bodies = (body,) if body else ()
    return RouteSpec(method, path, handler, summary, answer, query, bodies, scope="admin")
