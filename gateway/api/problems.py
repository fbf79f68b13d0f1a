"""Errors as RFC 9457 problem documents."""

from __future__ import annotations

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from gateway.schemas import parsing as reading
from twotower.errors import (
    DeadlineExceeded,
    InvalidInput,
    NotFound,
    Overloaded,
    TwoTowerError,
    Unavailable,
    VersionNotHeld,
)
from twotower.serving import telemetry

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


async def on_error(request: Request, error: Exception) -> Response:
    kind, status, title = next(one for one in _PROBLEMS if isinstance(error, one[0]))
    detail = error.detail() if isinstance(error, TwoTowerError) else {}
    # nobody waits for the rest of a body any more
    headers = {503: {"Retry-After": "1"}, 408: {"Connection": "close"}}.get(status, {})
    name = "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in kind.__name__).lstrip("-")
    return _problem(request.url.path, status, title, str(error), headers, {"type": f"urn:twotower:{name}", **detail})


async def on_http(request: Request, error: Exception) -> Response:
    """What the framework itself refuses: no such path, no such method."""
    assert isinstance(error, HTTPException)
    path = request.scope["path"]
    details = {404: f"there is nothing at {path!r}", 405: f"{path} does not take {request.method}"}
    detail = details.get(error.status_code, error.detail)
    return _problem(path, error.status_code, error.detail, detail, dict(error.headers or {}), {})


def failed(path: str) -> Response:
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
