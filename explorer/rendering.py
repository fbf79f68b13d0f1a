"""Renders pages: templates, words of the language, and headers that forbid everything from elsewhere."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import Response
from starlette.templating import Jinja2Templates

from explorer.drawings import drawing_of
from explorer.gateway import GatewayProblem
from explorer.gateway_words import step_in, warning_in
from explorer.words import DIRECTION, LANGUAGES, words_of

FOLDER = Path(__file__).parent
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
# a title of the other direction within a sentence, isolated, with its quotes
_TITLE = re.compile("([“«]\u2068[^\u2069]*\u2069[”»])")
_PROBLEMS = {404: "not_found", 422: "wrong_input"}
# what the forms offer
EVENTS = ("View", "AddToCart", "Purchase")
SLOTS = ("home", "product", "cart", "search", "again", "trending", "email")


class Renderer:
    """Renders the templates; `image_hosts` are those from which pages may load products' pictures."""

    def __init__(self, image_hosts: Sequence[str] = ()) -> None:
        self._image_hosts = tuple(image_hosts)
        policy = HEADERS["Content-Security-Policy"]
        allowed = policy.replace("img-src 'self'", " ".join(["img-src 'self'", *image_hosts]))
        self._headers = HEADERS | {"Content-Security-Policy": allowed}
        self._templates = Jinja2Templates(directory=FOLDER / "templates")

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
            "warning_in": warning_in,
            "step_in": step_in,
            "drawing_of": drawing_of,
            "picture_of": self._picture_of,
            "with_whole_titles": with_whole_titles,
            "problem_word": _PROBLEMS.get(status, "problem"),
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


def with_whole_titles(sentence: str) -> Markup:
    """A reason in which a title of the other direction stays on one line, if it fits.

    Broken over two lines, such a title has its first words beside the end of the sentence, and its quotes apart.
    """
    parts = _TITLE.split(sentence)
    return Markup().join(
        Markup('<span class="quoted">{}</span>').format(part) if place % 2 else escape(part)
        for place, part in enumerate(parts)
    )


def page_status(error: GatewayProblem) -> int:
    """The status of a page: what is unknown or wrong is the visitor's, everything else the gateway's."""
    return error.status if error.status in (404, 409, 422) else 502
