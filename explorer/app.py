"""The application: one handler per page, each in both languages below /ar and /en."""

from __future__ import annotations

import json
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import httpx
from fastapi import FastAPI
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.templating import Jinja2Templates

from explorer import compare, gateway, live, model, rules
from explorer.drawings import drawing_of
from explorer.gateway import Answer, GatewayProblem
from explorer.reasons import numbered, with_reasons, with_shares
from explorer.settings import ExplorerSettings
from explorer.words import DIRECTION, LANGUAGES, step_in, warning_in, words_of

_FOLDER = Path(__file__).parent
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
# a report holds its own style and drawings, and nothing that runs
_REPORT_HEADERS = _HEADERS | {
    "Content-Security-Policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
    "base-uri 'none'; frame-ancestors 'self'",
}
_SHOWN = 12
_DETAILS = ("products", "reasons")
# a publication hashes every file of the version first
_PUBLISH_SECONDS = 60.0
_MAX_BODY = 64 << 10
# of a list that the page can do without: no scope, no such route or data, no room now
_NOT_HERE = (401, 403, 404, 429, 501, 503, 504)
_PROBLEMS = {404: "not_found", 422: "wrong_input"}
EVENTS = ("View", "AddToCart", "Purchase")
SLOTS = ("home", "product", "cart", "search", "again", "trending", "email")
# rising products whose categories the page names
_RISING = 100


def create_app(settings: ExplorerSettings) -> FastAPI:
    """The ASGI application. The gateway is first asked when a page is."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        async with gateway.connect(settings) as client:
            yield {"pages": Pages(client, settings.image_hosts)}

    app = FastAPI(title="explorer", lifespan=lifespan, openapi_url=None)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(settings.allowed_hosts), www_redirect=False)
    app.mount("/static", StaticFiles(directory=_FOLDER / "static"), name="static")
    app.add_route("/", _home)
    app.add_route("/healthz", _alive)
    for name in ("search", "buyer", "trending", "compare", "rules", "model", "live"):
        app.add_route(f"/{{language}}/{name}", _page(name))
    app.add_route("/{language}/product/{product_id:path}", _page("product"))
    app.add_route("/{language}/buyer", _add_event, methods=["POST"])
    app.add_route("/{language}/model", _publish, methods=["POST"])
    app.add_route("/{language}/rules", _change_rules, methods=["POST"])
    app.add_route("/{language}/suggest", _suggest)
    app.add_route("/{language}/report/{version}", _report)
    return app


async def _home(request: Request) -> Response:
    return RedirectResponse("/ar/search")


async def _alive(request: Request) -> Response:
    return PlainTextResponse("alive")


def _page(name: str) -> Callable[[Request], Awaitable[Response]]:
    """A handler that renders the template of a page from what the method of that name finds."""

    async def handler(request: Request) -> Response:
        language = request.path_params["language"]
        if language not in LANGUAGES:
            return RedirectResponse("/ar/search")
        pages: Pages = request.state.pages
        status = 200
        try:
            found = await getattr(pages, name)(request)
        except GatewayProblem as error:
            status, found = page_status(error), {"problem": str(error)}
        return pages.render(request, name, language, found, status)

    return handler


def page_status(error: GatewayProblem) -> int:
    """The status of a page: what is unknown or wrong is the visitor's, everything else the gateway's."""
    return error.status if error.status in (404, 409, 422) else 502


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
    return pages.render(request, "suggest", language, {"suggestions": found}, 200)


async def _report(request: Request) -> Response:
    """A version's report, shut in: it loads nothing and runs nothing."""
    pages: Pages = request.state.pages
    try:
        html = await gateway.text(pages.client, f"/versions/{quote(request.path_params['version'], safe='')}/report")
    except GatewayProblem as error:
        return PlainTextResponse(str(error), page_status(error))
    return HTMLResponse(html, headers=_REPORT_HEADERS)


async def _publish(request: Request) -> Response:
    """Publishes a version with the key of the form, or else the explorer's own; then shows the versions again."""
    form = await _form(request)
    if isinstance(form, Response):
        return form
    pages: Pages = request.state.pages
    language, version = request.path_params["language"], form.get("version", [""])[0]
    path = f"/versions/{quote(version, safe='')}/publish"
    try:
        await gateway.post(pages.client, path, {}, form.get("key", [""])[0], _PUBLISH_SECONDS)
    except GatewayProblem as error:
        return pages.render(request, "model", language, {"problem": str(error)}, page_status(error))
    return RedirectResponse(f"/{language}/model?{urlencode({'published': version})}", 303)


async def _change_rules(request: Request) -> Response:
    """Previews a draft of the rules, puts one in force, or undoes; shows the rules again, with what has failed."""
    read = await _form(request)
    if isinstance(read, Response):
        return read
    form = {name: values[0] for name, values in read.items()}
    pages: Pages = request.state.pages
    language, key = request.path_params["language"], form.get("key", "")
    found: dict[str, Any] = {"form": form, "status": 200}
    try:
        found |= await pages.rules(request)
        if form.get("action") == "undo":
            undo = {"version": int(form.get("version", "0"))}
            await gateway.send(pages.client, "POST", "/rules/undo", undo, key)
            return RedirectResponse(f"/{language}/rules?done=undone", 303)
        drafted = rules.draft(found["rules"], form, time.time())
        if form.get("action") == "preview":
            shown = await rules.preview(pages.client, drafted, form, key)
            lists = {name: _previewed(shown[name], shown["before"]) for name in ("before", "after")}
            found |= {"preview": shown | lists, "drafted": rules.as_yaml(drafted)}
        else:
            version = int(form.get("version") or found["version"])
            body = {"rules": drafted, "version": version, "note": form.get("note", "").strip()}
            await gateway.send(pages.client, "PUT", "/rules", body, key)
            return RedirectResponse(f"/{language}/rules?done={version}", 303)
    except GatewayProblem as error:
        found |= {"problem": str(error), "status": page_status(error)}
    return pages.render(request, "rules", language, found, found["status"])


async def _form(request: Request) -> dict[str, list[str]] | Response:
    """The fields of a form of these pages, or the refusal of any other."""
    # a form of another site must not write histories or publish
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return PlainTextResponse("forms of other sites are refused", 403)
    if request.path_params["language"] not in LANGUAGES:
        return PlainTextResponse("there is no such page", 404)
    body = await request.body()
    if len(body) > _MAX_BODY:
        return PlainTextResponse("the form is too large", 413)
    return parse_qs(body.decode("utf-8", "replace"))


async def _add_event(request: Request) -> Response:
    """Stores one event, then shows the buyer again, with the list of before to mark what has changed."""
    form = await _form(request)
    if isinstance(form, Response):
        return form
    given = {name: form.get(name, [""])[0] for name in ("buyer_id", "product_id", "event_type")}
    pages: Pages = request.state.pages
    try:
        await gateway.post(pages.client, "/interactions", given | {"timestamp": str(round(time.time() * 1000))})
    except GatewayProblem as error:
        language = request.path_params["language"]
        return pages.render(request, "buyer", language, {"problem": str(error)}, page_status(error))
    kept = {"buyer_id": given["buyer_id"], "before": form.get("before", []), "slot": form.get("slot", [SLOTS[0]])[0]}
    # what was searched stays, for the next click
    kept |= {"find": form["find"][0]} if form.get("find") else {}
    # `added` says what was done, and the anchor skips the forms
    query = urlencode(kept | {"added": given["event_type"]}, doseq=True)
    return RedirectResponse(f"/{request.path_params['language']}/buyer?{query}#lists", 303)


class Pages:
    """What each page shows. A method returns the values of its template; it raises GatewayProblem."""

    def __init__(self, client: httpx.AsyncClient, image_hosts: Sequence[str] = ()) -> None:
        self.client = client
        self._image_hosts = tuple(image_hosts)
        policy = _HEADERS["Content-Security-Policy"]
        allowed = policy.replace("img-src 'self'", " ".join(["img-src 'self'", *image_hosts]))
        self._headers = _HEADERS | {"Content-Security-Policy": allowed}
        self._templates = Jinja2Templates(directory=_FOLDER / "templates")

    def render(self, request: Request, name: str, language: str, found: dict[str, Any], status: int) -> Response:
        """The page in one language, with the headers that forbid everything from elsewhere."""
        other = LANGUAGES[1 - LANGUAGES.index(language)]
        query = f"?{request.url.query}" if request.url.query and request.method == "GET" else ""
        elsewhere = f"/{other}{request.url.path.removeprefix(f'/{language}')}{query}"
        values: dict[str, Any] = {
            "page": name,
            "lang": language,
            "dir": DIRECTION[language],
            "w": words_of(language),
            "found": found,
        }
        values |= {
            "warning_in": warning_in,
            "step_in": step_in,
            "drawing_of": drawing_of,
            "picture_of": self._picture_of,
        }
        values["problem_word"] = _PROBLEMS.get(status, "problem")
        values |= {
            "other_url": elsewhere,
            "other": other,
            "asked": request.query_params,
            "events": EVENTS,
            "slots": SLOTS,
        }
        return self._templates.TemplateResponse(request, f"{name}.html", values, status, headers=self._headers)

    def _picture_of(self, product: dict[str, Any]) -> str:
        """The product's picture, if pages may load it; empty otherwise."""
        url = product.get("image") or ""
        host = (urlsplit(url).hostname or "") if url else ""
        names = (name.removeprefix("*") for name in self._image_hosts)
        is_allowed = any(host == name or (name.startswith(".") and host.endswith(name)) for name in names)
        return url if is_allowed else ""

    async def search(self, request: Request) -> dict[str, Any]:
        q = request.query_params.get("q", "").strip()
        if not q:
            return {}
        answer = await gateway.get(self.client, "/search", q=q, k=_SHOWN, include=_DETAILS, **_options(request))
        suggested = await gateway.get(self.client, "/suggest", q=q, k=6)
        return {"list": _rows(answer), "answer": answer, "suggestions": suggested.body["suggestions"]}

    async def buyer(self, request: Request) -> dict[str, Any]:
        asked = request.query_params
        buyer_id = asked.get("buyer_id", "").strip()
        if not buyer_id:
            recent = await self._optional("/buyers")
            buyers = recent.body["buyer_ids"] if recent else []
            return {"guest": f"guest-{secrets.token_hex(4)}", "buyers": buyers}
        stored = (await gateway.get(self.client, "/history", buyer_id=buyer_id)).body["interactions"]
        query = {"slot": asked.get("slot", "").strip() or SLOTS[0]} | _options(request)
        answer = await gateway.get(self.client, "/retrieve", buyer_id=buyer_id, k=_SHOWN, include=_DETAILS, **query)
        ids = list(dict.fromkeys(one["product_id"] for one in stored))
        products = await self._products(ids)
        rows = with_shares(_mark_changes(_rows(answer), asked.getlist("before")), products)
        history = numbered([one | {"product": products.get(one["product_id"])} for one in stored], rows)
        found = {"buyer_id": buyer_id, "history": history, "list": rows, "answer": answer, "slot": query["slot"]}
        if again := await self._optional("/again", buyer_id=buyer_id, k=6, include=_DETAILS):
            found |= {"again": _rows(again), "again_warnings": again.body["warnings"]}
        if wanted := asked.get("find", "").strip():
            query = {"q": wanted, "k": 6, "include": "products"}
            found["found"] = _rows(await gateway.get(self.client, "/search", **query))
        return found

    async def trending(self, request: Request) -> dict[str, Any]:
        query = {"include": _DETAILS, "category": request.query_params.get("category", "").strip()}
        every = await gateway.get(self.client, "/trending", k=_RISING, include=_DETAILS)
        answer = await gateway.get(self.client, "/trending", k=_SHOWN, **query) if query["category"] else every
        categories = Counter(one["category"] for one in every.body["products"] if one["category"])
        found = {"answer": answer, "list": _rows(answer)[:_SHOWN], "counted": answer.body["counted"]}
        return found | {"categories": categories.most_common(), "category": query["category"]}

    async def product(self, request: Request) -> dict[str, Any]:
        product_id = request.path_params["product_id"]
        product = (await self._products([product_id])).get(product_id)
        if product is None:
            raise GatewayProblem(product_id, 404)
        lists = {}
        for name, by in (("by_behaviour", "sequence"), ("by_vector", "vector")):
            query = {"product_id": product_id, "by": by, "k": 6, "include": _DETAILS}
            lists[name] = _rows(await gateway.get(self.client, "/similar", **query))
        like = {"q": product["title"], "understand": "false", "exclude": product_id, "k": 6, "include": "products"}
        lists["by_text"] = _rows(await gateway.get(self.client, "/search", **like))
        together = await self._optional("/together", product_id=product_id, k=6, include=_DETAILS)
        if together:
            lists["together"] = _rows(together)
        audience = await self._optional("/audience", product_id=product_id)
        return {"product": product, "lists": lists, "audience": audience.body if audience else None}

    async def _optional(self, path: str, **query: Any) -> Answer | None:
        """An answer that not every gateway or key can have: None without the route, the scope, or room for it."""
        try:
            return await gateway.get(self.client, path, **query)
        except GatewayProblem as error:
            if error.status in _NOT_HERE:
                return None
            raise

    async def compare(self, request: Request) -> dict[str, Any]:
        asked = request.query_params
        ways, refused = await compare.ways(self.client)
        found: dict[str, Any] = {"ways": ways, "refused": refused, "diversities": compare.DIVERSITIES}
        if not (value := asked.get("value", "").strip()):
            return found
        by_search = asked.get("kind") == "search"
        path, name = ("/search", "q") if by_search else ("/retrieve", "buyer_id")
        sides = []
        for side in "ab":
            # the second side may ask for somebody else
            whose = (asked.get("value_b", "").strip() or value) if side == "b" else value
            query = {name: whose, "k": _SHOWN, "include": _DETAILS} | compare.query_of(asked, side, by_search)
            way = next((one for one in ways if one.value == asked.get(f"way_{side}", "")), compare.LIVE)
            sides.append(await compare.ask(self.client, path, query, way))
        rows = [_rows(side.answer) if side.answer else [] for side in sides]
        first, second = ([row["product"]["product_id"] for row in side] for side in rows)
        marked = [_mark_changes(rows[0], second), _mark_changes(rows[1], first)]
        of = max(len(first), len(second))
        same = len(
            {json.dumps(compare.query_of(asked, side, by_search)) + asked.get(f"way_{side}", "") for side in "ab"}
        )
        return found | {
            "sides": list(zip(sides, marked, strict=True)),
            "common": len(set(first) & set(second)),
            "of": of,
            "is_same": same == 1 and not asked.get("value_b", "").strip(),
        }

    async def rules(self, request: Request) -> dict[str, Any]:
        try:
            found = await rules.in_force(self.client)
        except GatewayProblem as error:
            if error.status in (401, 403):
                return {"refused": str(error)}
            raise
        wanted = request.query_params.get("find", "").strip()
        if wanted:
            query = {"q": wanted, "k": 6, "include": "products"}
            found["found"] = _rows(await gateway.get(self.client, "/search", **query))
        pinned = list(dict.fromkeys(one["product_id"] for one in found["rules"] if "product_id" in one))
        found["titles"] = await self._products(pinned)
        return found | {"kinds": rules.KINDS, "days": rules.DAYS, "subjects": rules.SUBJECTS}

    async def live(self, request: Request) -> dict[str, Any]:
        found: dict[str, Any] = {"ready": await gateway.ready(self.client)}
        try:
            found["routes"] = live.read_routes(await gateway.text(self.client, "/metrics"))
            found["experiments"] = (await gateway.get(self.client, "/experiments")).body["experiments"]
        except GatewayProblem as error:
            # a key without the scope admin: the health is shown all the same
            found["refused"] = str(error)
            return found
        try:
            found["searches"] = (await gateway.get(self.client, "/searches")).body
        except GatewayProblem as error:
            if error.status != 503:
                raise
            # they are in Redis: `ready` says that it is down
            found["searches_lost"] = str(error)
        return found

    async def model(self, request: Request) -> dict[str, Any]:
        answer = (await gateway.get(self.client, "/versions")).body
        versions = [model.summary(one) for one in answer["versions"]]
        shown = next((one for one in versions if one["pointer"] == "CURRENT"), None)
        plane = model.plane((await gateway.get(self.client, "/map")).body)
        published = request.query_params.get("published")
        found = {"versions": versions, "shown": shown, "may_publish": answer["may_publish"], "map": plane}
        return found | {"published": published, "metrics": model.METRICS}

    async def _products(self, ids: list[str]) -> dict[str, Any]:
        if not ids:
            return {}
        answer = await gateway.get(self.client, "/products", id=ids)
        return {one["product_id"]: one for one in answer.body["products"]}


def _options(request: Request) -> dict[str, Any]:
    """The filters of a page's form as parameters of a list; empty fields are left out."""
    asked = request.query_params
    named = {
        name: asked.get(name, "").strip()
        for name in ("diversity", "in_stock", "category", "brand", "price_min", "price_max", "sort")
    }
    return {name: value for name, value in named.items() if value}


def _previewed(products: list[dict[str, Any]], before: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of a preview's list, marked against the list before."""
    rows = [
        {"place": place, "product": one, "score": one["score"], "placed_by": one["placed_by"]}
        for place, one in enumerate(products, 1)
    ]
    return _mark_changes(rows, [] if products is before else [one["product_id"] for one in before])


def _rows(answer: Answer) -> list[dict[str, Any]]:
    body = answer.body
    rows = [
        {"place": place, "product": product, "score": score}
        for place, (product, score) in enumerate(zip(body["products"], body["scores"], strict=True), 1)
    ]
    return with_reasons(rows, body.get("reasons"))


def _mark_changes(rows: list[dict[str, Any]], before: list[str]) -> list[dict[str, Any]]:
    """Adds `change` to each row, against an earlier list of ids: "new", or by how many places it rose (negative: fell).

    Without an earlier list nothing is marked.
    """
    if not before:
        return rows
    places = {product_id: place for place, product_id in enumerate(before, 1)}
    return [
        row | {"change": places[one] - row["place"] if (one := row["product"]["product_id"]) in places else "new"}
        for row in rows
    ]
