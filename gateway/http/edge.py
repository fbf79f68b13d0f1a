"""The outermost layer of a request: its id, trace, duration and log line, and the answer to an unexpected exception."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, Mapping

from prometheus_client import Histogram
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway import metrics
from gateway.http.access_log import AccessLog
from twotower.errors import TwoTowerError
from twotower.serving import telemetry, tracing

log = logging.getLogger(__name__)

_REQUEST_ID = re.compile(rb"[!-~]{1,128}")
# nginx's status for a client that has disconnected
_DISCONNECTED = 499

Handler = Callable[[Request], Awaitable[Response]]


class Edge:
    """ASGI middleware. Keeps a caller's X-Request-ID if it is 1 to 128 printable ASCII characters without spaces.

    Calls `handlers` by method and path, and passes every other request on to `app`. That skips the framework's router
    and middleware, which cost a request 20 to 30 us of CPU (a /retrieve costs the gateway about 300).
    `on_error(request, error)` answers a TwoTowerError, `on_failure(path)` any other exception.
    `wrap` puts middleware around both. `root_path` is the path under which a proxy serves the gateway; the proxy may
    leave it in the path of a request or take it away.
    """

    def __init__(
        self,
        app: ASGIApp,
        handlers: Mapping[tuple[str, str], Handler],
        on_error: Callable[[Request, Exception], Awaitable[Response]],
        on_failure: Callable[[str], ASGIApp],
        access: AccessLog | None,
        wrap: Callable[[ASGIApp], ASGIApp],
        root_path: str = "",
    ) -> None:
        self._app = app
        self._wrapped = wrap(self._route)
        self._root = root_path
        self._handlers = handlers
        self._paths = frozenset(path for _, path in handlers)
        self._templates = {handler: path for (_, path), handler in handlers.items()}
        self._on_error = on_error
        self._on_failure = on_failure
        self._access = access
        self._histograms: dict[tuple[str, int], Histogram] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method, scope = scope["method"], self._as_routed(scope)
        request_id = _request_id(scope)
        token = telemetry.request_id.set(request_id)
        span = tracing.begin_request(method, scope["headers"]) if tracing.is_on() else None
        started, status = time.perf_counter(), 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id.encode())]
            try:
                await send(message)
            except RuntimeError as error:
                # uvloop's word for a socket that is closed, before uvicorn has heard of it
                if "the handler is closed" in str(error):
                    raise ClientDisconnect from None
                raise

        try:
            await self._wrapped(scope, receive, send_with_id)
        except ClientDisconnect:
            # a status of its own, so that it does not count as a failure of the gateway
            status = status or _DISCONNECTED
            # uvicorn hears of it now, and does not report an answer that is incomplete
            await asyncio.sleep(0)
        except Exception:
            log.exception("request failed", extra={"path": scope["path"]})
            if not status:
                await self._on_failure(scope["path"])(scope, receive, send_with_id)
        finally:
            route = self._record(scope, method, request_id, status, time.perf_counter() - started)
            if span is not None:
                tracing.end_request(span, method, route, status, request_id)
            telemetry.request_id.reset(token)

    def _as_routed(self, scope: Scope) -> Scope:
        """The scope as the routes read it: HEAD is GET (the server leaves out the body), the path has the root path."""
        root, path = self._root, scope["path"]
        if scope["method"] != "HEAD" and not root:
            return scope
        # a new one: the server reads the method of its own again
        scope = {**scope, "method": "GET" if scope["method"] == "HEAD" else scope["method"]}
        if root:
            inside = path == root or path.startswith(f"{root}/")
            scope |= {"root_path": root, "path": path if inside else root + path}
        return scope

    async def _route(self, scope: Scope, receive: Receive, send: Send) -> None:
        handler = self._handlers.get((scope["method"], scope["path"].removeprefix(self._root)))
        app = self._app if handler is None else await self._answer(handler, Request(scope, receive))
        await app(scope, receive, send)

    async def _answer(self, handler: Handler, request: Request) -> Response:
        try:
            return await handler(request)
        except TwoTowerError as error:
            return await self._on_error(request, error)

    def _record(self, scope: Scope, method: str, request_id: str, status: int, seconds: float) -> str:
        """Counts and logs the request; returns its route."""
        path = scope["path"].removeprefix(self._root)
        # one label for all unknown paths: callers could otherwise create any number of time series
        route = path if path in self._paths else self._template_of(scope)
        labels = route, status
        if labels not in self._histograms:
            self._histograms[labels] = metrics.REQUEST_SECONDS.labels(*labels)
        self._histograms[labels].observe(seconds)
        if self._access is not None:
            # what a path holds for a parameter may be a buyer's id
            shown = route if scope.get("path_params") else path
            self._access.add(request_id, method, shown, status, seconds, tracing.trace_id())
        return route

    def _template_of(self, scope: Scope) -> str:
        """The path of the route that answered, with its parameters' names; "other" if none did."""
        handler = scope.get("endpoint")
        return self._templates.get(handler, "other") if handler else "other"


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return str(value, "ascii")
    return telemetry.new_request_id()
