"""Errors as RFC 9457 problem documents."""

from __future__ import annotations

import difflib

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from gateway import metrics
from gateway.auth.errors import Forbidden, Refused, TooManyRequests, Unauthorized
from gateway.schemas import parsing
from twotower.errors import (
    Conflict,
    DeadlineExceeded,
    InvalidInput,
    NotConfigured,
    NotFound,
    Overloaded,
    TwoTowerError,
    Unavailable,
    VersionNotHeld,
)
from twotower.events import UNKNOWN_EVENT
from twotower.serving import telemetry

# characters of a path that is compared with those of the routes, to name the nearest one
_MAX_COMPARED = 100
# the first match wins, so a class stands before its base class
_PROBLEMS: list[tuple[type[TwoTowerError], int, str]] = [
    (parsing.Malformed, 400, "Malformed request"),
    (parsing.BodyTooSlow, 408, "Body too slow"),
    (parsing.BodyTooLarge, 413, "Body too large"),
    (parsing.QueryTooLarge, 414, "Query too large"),
    (parsing.WrongContentType, 415, "Wrong content type"),
    (parsing.WrongContentEncoding, 415, "Wrong content encoding"),
    (Unauthorized, 401, "Unauthorized"),
    (Forbidden, 403, "Forbidden"),
    (TooManyRequests, 429, "Too many requests"),
    (InvalidInput, 422, "Invalid input"),
    (NotFound, 404, "Not found"),
    (Conflict, 409, "Conflict"),
    (Overloaded, 503, "Overloaded"),
    (VersionNotHeld, 503, "No common model version"),
    (Unavailable, 503, "Unavailable"),
    (NotConfigured, 501, "Not configured"),
    (DeadlineExceeded, 504, "Deadline exceeded"),
    (TwoTowerError, 500, "Internal error"),
]


async def on_error(request: Request, error: Exception) -> Response:
    """Answers one of the product's own errors."""
    if isinstance(error, InvalidInput):
        _count_unknown_events(error)
    kind, status, title = next(entry for entry in _PROBLEMS if isinstance(error, entry[0]))
    detail = error.detail() if isinstance(error, TwoTowerError) else {}
    # after a 408 the rest of the body is not read, so the connection cannot be used again
    headers = {503: {"Retry-After": "1"}, 408: {"Connection": "close"}}.get(status, {})
    if kind is parsing.WrongContentEncoding:
        headers = {"Accept-Encoding": "gzip"}
    if isinstance(error, Refused):
        headers = error.headers
    name = "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in kind.__name__).lstrip("-")
    return _problem(request.url.path, status, title, str(error), headers, {"type": f"urn:twotower:{name}", **detail})


def _count_unknown_events(error: InvalidInput) -> None:
    refused = error.errors if isinstance(error, parsing.InvalidFields) else [error]
    if unknown := sum(one.problem.startswith(UNKNOWN_EVENT) for one in refused):
        metrics.interactions("unknown_event").inc(unknown)


async def on_http(request: Request, error: Exception) -> Response:
    """Answers what the framework refuses: an unknown path or method. OPTIONS gets the methods of its path."""
    assert isinstance(error, HTTPException)
    path, headers, detail = request.scope["path"], dict(error.headers or {}), error.detail
    if error.status_code == 405:
        headers["Allow"] = _allowed(headers.get("Allow", "GET"))
        detail = f"{path} does not accept {request.method}, only {headers['Allow']}"
        if request.method == "OPTIONS":
            return Response(status_code=204, headers={"Allow": headers["Allow"]})
    elif error.status_code == 404:
        if request.method == "OPTIONS" and request.scope["raw_path"] == b"*":
            return Response(status_code=204, headers={"Allow": _allowed("GET, POST, DELETE")})
        detail = f"there is no route {path!r}{_nearest_route(request)}"
    return _problem(path, error.status_code, error.detail, detail, headers, {})


def _allowed(methods: str) -> str:
    """The value of Allow for these methods: HEAD goes where GET does, OPTIONS everywhere."""
    names = {name.strip() for name in methods.split(",")}
    return ", ".join(sorted(names | {"OPTIONS"} | ({"HEAD"} if "GET" in names else set())))


def _nearest_route(request: Request) -> str:
    path, root = request.scope["path"], request.scope["root_path"]
    if len(path) > _MAX_COMPARED:
        return ""
    known = [root + route.path for route in request.app.routes if "{" not in route.path]
    near = difflib.get_close_matches(path, known, n=1, cutoff=0.75)
    return f"; did you mean {near[0]}?" if near else f"; {root}/docs lists all"


def on_failure(path: str) -> Response:
    """Answers an exception that nothing else has caught."""
    request_id = telemetry.request_id.get()
    detail = f"an unexpected error; the log has the details under request id {request_id}"
    return _problem(path, 500, "Internal error", detail, {}, {})


def _problem(
    path: str, status: int, title: str, detail: str, headers: dict[str, str], more: dict[str, object]
) -> Response:
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
