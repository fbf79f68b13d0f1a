"""The handlers of the pages' forms: they change something, then show the page again."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import parse_qs, quote, urlencode

from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from explorer import gateway, rules
from explorer.gateway import GatewayProblem
from explorer.pages import Pages
from explorer.rendering import SLOTS, Renderer, page_status
from explorer.rows import previewed_rows
from explorer.words import LANGUAGES

# a publication hashes every file of the version first
_PUBLISH_SECONDS = 60.0
_MAX_BODY = 64 << 10


async def add_event(request: Request) -> Response:
    """Stores one event, then shows the buyer again, with the list of before to mark what has changed."""
    form = await _form(request)
    if isinstance(form, Response):
        return form
    given = {name: form.get(name, [""])[0] for name in ("buyer_id", "product_id", "event_type")}
    pages: Pages = request.state.pages
    renderer: Renderer = request.state.renderer
    try:
        await gateway.post(pages.client, "/interactions", given | {"timestamp": str(round(time.time() * 1000))})
    except GatewayProblem as error:
        language = request.path_params["language"]
        return renderer.render(request, "buyer", language, {"problem": str(error)}, page_status(error))
    kept = {"buyer_id": given["buyer_id"], "before": form.get("before", []), "slot": form.get("slot", [SLOTS[0]])[0]}
    # what was searched stays, for the next click
    kept |= {"find": form["find"][0]} if form.get("find") else {}
    # `added` says what was done, and the anchor skips the forms
    query = urlencode(kept | {"added": given["event_type"]}, doseq=True)
    return RedirectResponse(f"/{request.path_params['language']}/buyer?{query}#lists", 303)


async def publish(request: Request) -> Response:
    """Publishes a version with the key of the form, or else the explorer's own; then shows the versions again."""
    form = await _form(request)
    if isinstance(form, Response):
        return form
    pages: Pages = request.state.pages
    renderer: Renderer = request.state.renderer
    language, version = request.path_params["language"], form.get("version", [""])[0]
    path = f"/versions/{quote(version, safe='')}/publish"
    try:
        await gateway.post(pages.client, path, {}, form.get("key", [""])[0], _PUBLISH_SECONDS)
    except GatewayProblem as error:
        return renderer.render(request, "model", language, {"problem": str(error)}, page_status(error))
    return RedirectResponse(f"/{language}/model?{urlencode({'published': version})}", 303)


async def change_rules(request: Request) -> Response:
    """Previews a draft of the rules, puts one in force, or undoes; shows the rules again, with what has failed."""
    read = await _form(request)
    if isinstance(read, Response):
        return read
    form = {name: values[0] for name, values in read.items()}
    pages: Pages = request.state.pages
    renderer: Renderer = request.state.renderer
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
            lists = {name: previewed_rows(shown[name], shown["before"]) for name in ("before", "after")}
            found |= {"preview": shown | lists, "drafted": rules.as_yaml(drafted)}
        else:
            version = int(form.get("version") or found["version"])
            body = {"rules": drafted, "version": version, "note": form.get("note", "").strip()}
            await gateway.send(pages.client, "PUT", "/rules", body, key)
            return RedirectResponse(f"/{language}/rules?done={version}", 303)
    except GatewayProblem as error:
        found |= {"problem": str(error), "status": page_status(error)}
    return renderer.render(request, "rules", language, found, found["status"])


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
