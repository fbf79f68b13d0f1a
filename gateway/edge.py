"""The outermost layer of a request: its id, its time, its log line, and the last catch."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway import metrics
from twotower import telemetry

log = logging.getLogger(__name__)
access = logging.getLogger("gateway.access")

_REQUEST_ID = re.compile(rb"[!-~]{1,128}")


class Edge:
    """ASGI middleware. A caller's X-Request-ID is kept where it is 1 to 128 printable ASCII characters, no spaces.

    `on_failure(path)` makes the answer to an exception that nothing else has caught.
    """

    def __init__(self, app: ASGIApp, routes: frozenset[str], on_failure: Callable[[str], ASGIApp], log_all: bool):
        self._app = app
        self._routes = routes
        self._on_failure = on_failure
        self._log_all = log_all

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        token = telemetry.request_id.set(request_id)
        started, status = time.perf_counter(), 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id.encode())]
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception:
            log.exception("request failed", extra={"path": scope["path"]})
            if not status:
                await self._on_failure(scope["path"])(scope, receive, send_with_id)
        finally:
            self._record(scope, status, time.perf_counter() - started)
            telemetry.request_id.reset(token)

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        path = scope["path"]
        # a path that is no route is some caller's text: it would make one time series each
        metrics.REQUEST_SECONDS.labels(path if path in self._routes else "other", status).observe(seconds)
        if self._log_all:
            fields = {"method": scope["method"], "path": path, "status": status, "ms": round(seconds * 1000, 2)}
            access.info("request", extra=fields)


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return str(value, "ascii")
    return telemetry.new_request_id()
