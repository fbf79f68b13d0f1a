"""The application: one handler per page, each in both languages below /ar and /en."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles

from explorer import gateway
from explorer.forms import add_event, change_rules, publish
from explorer.gateway import GatewayProblem
from explorer.pages import Pages
from explorer.rendering import FOLDER, HEADERS, Renderer, page_status
from explorer.settings import ExplorerSettings
from explorer.words import LANGUAGES

# the values of a page's template
Show = Callable[[Pages, Request], Awaitable[dict[str, Any]]]
_PAGES: dict[str, Show] = {
    "search": Pages.search,
    "buyer": Pages.buyer,
    "trending": Pages.trending,
    "compare": Pages.compare,
    "rules": Pages.rules,
    "model": Pages.model,
    "live": Pages.live,
}
# a report holds its own style and drawings, and nothing that runs
_REPORT_HEADERS = HEADERS | {
    "Content-Security-Policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
    "base-uri 'none'; frame-ancestors 'self'",
}


def create_app(settings: ExplorerSettings) -> FastAPI:
    """The ASGI application. The gateway is first asked when a page is."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        async with gateway.connect(settings) as client:
            yield {"pages": Pages(client), "renderer": Renderer(settings.image_hosts)}

    app = FastAPI(title="explorer", lifespan=lifespan, openapi_url=None)
    app.add_exception_handler(404, _missing)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(settings.allowed_hosts), www_redirect=False)
    app.mount("/static", StaticFiles(directory=FOLDER / "static"), name="static")
    app.add_route("/", _home)
    app.add_route("/healthz", _alive)
    app.add_route("/{language}", _home)
    for name, show in _PAGES.items():
        app.add_route(f"/{{language}}/{name}", _page(name, show))
    app.add_route("/{language}/product/{product_id:path}", _page("product", Pages.product))
    app.add_route("/{language}/buyer", add_event, methods=["POST"])
    app.add_route("/{language}/model", publish, methods=["POST"])
    app.add_route("/{language}/rules", change_rules, methods=["POST"])
    app.add_route("/{language}/suggest", _suggest)
    app.add_route("/{language}/report/{version}", _report)
    return app


async def _home(request: Request) -> Response:
    language = request.path_params.get("language", LANGUAGES[0])
    return RedirectResponse(f"/{language}/search") if language in LANGUAGES else _missing_page(request)


async def _missing(request: Request, error: Exception) -> Response:
    return _missing_page(request)


def _missing_page(request: Request) -> Response:
    """There is no such page, with the way to the others; in the language of the path if it names one."""
    first = request.url.path.split("/")[1]
    renderer: Renderer = request.state.renderer
    return renderer.render(request, "missing", first if first in LANGUAGES else LANGUAGES[0], {}, 404)


async def _alive(request: Request) -> Response:
    return PlainTextResponse("alive")


def _page(name: str, show: Show) -> Callable[[Request], Awaitable[Response]]:
    """A handler that renders the template of a page from the values that `show` returns."""

    async def handler(request: Request) -> Response:
        language = request.path_params["language"]
        if language not in LANGUAGES:
            return RedirectResponse("/ar/search")
        pages: Pages = request.state.pages
        renderer: Renderer = request.state.renderer
        status = 200
        try:
            found = await show(pages, request)
        except GatewayProblem as error:
            status, found = page_status(error), {"problem": str(error)}
        return renderer.render(request, name, language, found, status)

    return handler


async def _suggest(request: Request) -> Response:
    """The completions of what is typed so far, as the list below the search field; nothing without an answer."""
    language = request.path_params["language"]
    if language not in LANGUAGES:
        return RedirectResponse("/ar/search")
    pages: Pages = request.state.pages
    q, found = request.query_params.get("q", "").strip(), []
    if q:
        try:
            found = (await gateway.get(pages.client, "/suggest", q=q, k=6)).body["suggestions"]
        except GatewayProblem as error:
            return PlainTextResponse(str(error), page_status(error))
    renderer: Renderer = request.state.renderer
    return renderer.render(request, "suggest", language, {"suggestions": found}, 200)


async def _report(request: Request) -> Response:
    """A version's report, shut in: it loads nothing and runs nothing."""
    pages: Pages = request.state.pages
    try:
        html = await gateway.text(pages.client, f"/versions/{quote(request.path_params['version'], safe='')}/report")
    except GatewayProblem as error:
        return PlainTextResponse(str(error), page_status(error))
    return HTMLResponse(html, headers=_REPORT_HEADERS)
