"""The outermost layer of a request: its id, its time, its log line, the short way to a handler, and the last catch."""

from __future__ import annotations

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
from twotower.serving import telemetry

log = logging.getLogger(__name__)

_REQUEST_ID = re.compile(rb"[!-~]{1,128}")


_HUNG_UP = 499


Handler = Callable[[Request], Awaitable[Response]]


class Edge:
    """ASGI middleware. A caller's X-Request-ID is kept where it is 1 to 128 printable ASCII characters, no spaces.

    `handlers` are called from here by method and path, past the framework's router and its layers, which cost a
    request more than the gateway's own work on it; every other request goes through them. `on_error(request, error)`
    makes the answer to one of our errors, `on_failure(path)` to an exception that nothing else has caught.
    """

    def __init__(
        self,
        app: ASGIApp,
        handlers: Mapping[tuple[str, str], Handler],
        on_error: Callable[[Request, Exception], Awaitable[Response]],
        on_failure: Callable[[str], ASGIApp],
        access: AccessLog | None,
    ) -> None:
        self._app = app
        self._handlers = handlers
        self._paths = frozenset(path for _, path in handlers)
        self._on_error = on_error
        self._on_failure = on_failure
        self._access = access
        self._seconds: dict[tuple[str, int], Histogram] = {}

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
            handler = self._handlers.get((scope["method"], scope["path"]))
            app = self._app if handler is None else await self._answer(handler, Request(scope, receive))
            await app(scope, receive, send_with_id)
        except ClientDisconnect:
            # nobody is left to answer: nginx's number for it, so that it counts as no failure of ours
            status = status or _HUNG_UP
        except Exception:
            log.exception("request failed", extra={"path": scope["path"]})
            if not status:
                await self._on_failure(scope["path"])(scope, receive, send_with_id)
        finally:
            self._record(scope, request_id, status, time.perf_counter() - started)
            telemetry.request_id.reset(token)

    async def _answer(self, handler: Handler, request: Request) -> Response:
        try:
            return await handler(request)
        except TwoTowerError as error:
            return await self._on_error(request, error)

    def _record(self, scope: Scope, request_id: str, status: int, seconds: float) -> None:
        path = scope["path"]
        # a path that is no route is some caller's text: it would make one time series each
        kind = path if path in self._paths else "other", status
        if kind not in self._seconds:
            self._seconds[kind] = metrics.REQUEST_SECONDS.labels(*kind)
        self._seconds[kind].observe(seconds)
        if self._access is not None:
            self._access.add(request_id, scope["method"], path, status, seconds)


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return str(value, "ascii")
    return telemetry.new_request_id()
