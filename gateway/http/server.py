"""The HTTP server: uvicorn on a listening socket, with limits on connections, heads, request lines and headers.

Why uvicorn and not granian: granian 2.8 costs the gateway 0.88 to 0.96 times the CPU of uvicorn for /retrieve and 1.2
times for /encode_buyer, has no hook for the answer to malformed HTTP (a body of zero bytes, where the API promises
problem documents), and its workers outlive a killed parent.
"""

from __future__ import annotations

import asyncio
import logging
import math
import resource
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from gateway.http.connections import Connections, needed_files
from gateway.http.draining import DrainingHttp, DrainingServer
from gateway.settings import GatewaySettings
from twotower.errors import SettingsError
from twotower.serving.tls import check_pair, stamp_of

log = logging.getLogger(__name__)

# The parser fails above 65,535 bytes. A URL cut to this length is refused later: its query is longer than
# `max_query_bytes` (at most 60,000), or its path is longer than 5,000 bytes, and no route is.
_MAX_KEPT_URL = 65_000
# twice nginx's default
_MAX_HEADERS = 64 << 10
# between two looks at the certificate
_CERTIFICATE_SECONDS = 1
# requests that one connection may send before it has read the first answer; each takes about 2 KB
_MAX_PIPELINED = 16
# how the protocol refuses a request: status, title and detail
_MALFORMED = (
    400,
    "Bad Request",
    "this is not a valid HTTP request; letters outside ASCII must be percent-encoded in a URL",
)
_LONG_HEADERS = (431, "Request Header Fields Too Large", f"the headers are longer than {_MAX_HEADERS} bytes")
_MANY_PIPELINED = (400, "Bad Request", f"more than {_MAX_PIPELINED} requests wait for an answer on one connection")


class BoundedHttp(DrainingHttp):
    """uvicorn's protocol with limits that uvicorn has for its slower h11 parser only.

    A URL of any length takes little memory. Headers above 64 KiB get a 431 before all of them have arrived; without
    this, uvicorn accepts them, and keeps one that never ends. Malformed HTTP gets a problem document. A connection that
    owes the rest of a request that nobody is answering is closed in time (see `Connections`).
    """

    # bytes since the last byte of a URL or a body: headers, trailers, and what surrounds chunks
    _overhead = 0
    # from the first byte of a request to the last one of its head, and of its body
    _in_head = _in_message = False
    # whether `_connections` knows that this one owes the rest of a request
    _is_waiting = True
    # why the parser was stopped, if not by malformed HTTP: status, title and detail
    _refusal: tuple[int, str, str] | None = None
    # the request that the application is answering; `cycle` is the newest one, which may wait behind it
    _answering: RequestResponseCycle | None = None

    def __init__(self, connections: Connections, *arguments: Any, **named: Any) -> None:
        """`connections` counts those of the worker; the other arguments are uvicorn's."""
        super().__init__(*arguments, **named)
        self._connections = connections

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if not self._connections.opened(self):
            self._refuse(503, "Too many connections", "every connection of this gateway is busy", "retry-after: 1\r\n")

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.closed(self)
        self._give_up()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._overhead += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        # the parser keeps an unfinished header, however long
        if self._overhead > _MAX_HEADERS:
            self._refuse(*_LONG_HEADERS)
        elif self._owes() != self._is_waiting:
            self._note()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._in_message and self._owes_if_unarmed():
            # the rest of a body that nobody reads, or of the next head
            self._unset_keepalive_if_required()
            self._note()

    def idle_since(self) -> float:
        if self.transport.is_closing():
            return -math.inf
        # armed when the last answer was complete; every idle connection has the same time left from then on
        return self.timeout_keep_alive_task.when() if self.timeout_keep_alive_task is not None else math.inf

    def end(self, *, late: bool) -> None:
        if late and self._in_head:
            self._refuse(408, "Request Timeout", "the rest of the request did not arrive in time")
        else:
            self.transport.abort()

    def _owes(self) -> bool:
        """Whether the client owes the rest of a request that nobody is answering."""
        return self.timeout_keep_alive_task is None and self._owes_if_unarmed()

    def _owes_if_unarmed(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _note(self) -> None:
        self._is_waiting = self._owes()
        if self._is_waiting:
            self._connections.waits(self)
        else:
            self._connections.arrived(self)

    def _give_up(self) -> None:
        """Nobody reads the answers to what this connection has asked."""
        # uvicorn does this for the newest request only: an older one then fails because it cannot write
        if self._answering is not None and not self._answering.response_complete:
            self._answering.disconnected = True
            self._answering.message_event.set()
        self.pipeline.clear()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def on_message_begin(self) -> None:
        self._in_head = self._in_message = True
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._overhead -= len(url)
        super().on_url(url[: _MAX_KEPT_URL - len(self.url)])

    def on_headers_complete(self) -> None:
        if sum(len(name) + len(value) for name, value in self.headers) > _MAX_HEADERS:
            self._refusal = _LONG_HEADERS
            raise ValueError("the headers are too long")  # stops the parser
        if len(self.pipeline) >= _MAX_PIPELINED:
            self._refusal = _MANY_PIPELINED
            raise ValueError("too many pipelined requests")
        self._in_head = False
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._overhead = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._overhead = 0
        self._in_message = False
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse(*(self._refusal or _MALFORMED))

    def _refuse(self, status: int, title: str, detail: str, more: str = "") -> None:
        """Answers without the application, with the header lines `more`, and closes the connection."""
        body = orjson.dumps({"type": "about:blank", "title": title, "status": status, "detail": detail})
        head = (
            f"HTTP/1.1 {status} {title}\r\ncontent-type: application/problem+json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n{more}\r\n"
        )
        self.transport.write(head.encode() + body)
        self._give_up()
        self.transport.close()


def make_server(
    application: ASGIApp, settings: GatewaySettings, on_listening: Callable[[], None] = lambda: None
) -> uvicorn.Server:
    """A server that logs nothing itself and, when asked to exit, gives running requests `drain_seconds` to finish.

    `on_listening` is called once the lifespan of the application has begun and the server listens.
    """
    connections = Connections(settings.max_connections, settings.head_timeout_seconds)
    folder = settings.tls
    config = uvicorn.Config(
        application,
        loop="uvloop",
        # called for each connection, as the class would be
        http=partial(BoundedHttp, connections),  # type: ignore[arg-type]
        ws="none",
        lifespan="on",
        access_log=False,
        # nothing reads the client's address, so no need to parse a proxy's headers
        proxy_headers=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=max(1, round(settings.drain_seconds)),
        ssl_certfile=folder and folder / "tls.crt",
        ssl_keyfile=folder and str(folder / "tls.key"),
        timeout_notify=_CERTIFICATE_SECONDS,
    )
    if folder is not None:
        config.callback_notify = _renewal(config, folder)
    return DrainingServer(config, on_listening)


def _renewal(config: uvicorn.Config, folder: Path) -> Callable[[], Awaitable[None]]:
    """What the server calls every second: new files are shown from the next connection on.

    A pair that does not fit leaves the last one in force, and is logged.
    """
    seen = stamp_of(folder)

    async def renew() -> None:
        nonlocal seen
        stamp = stamp_of(folder)
        if stamp == seen:
            return
        seen = stamp
        try:
            # before the context is touched, which would otherwise show a certificate without its key
            check_pair(folder)
        except SettingsError as error:
            log.error("the last good certificate stays in force: %s", error)
            return
        assert config.ssl is not None, "the server has loaded its configuration"
        config.ssl.load_cert_chain(folder / "tls.crt", folder / "tls.key")
        log.info("new TLS certificate", extra={"folder": str(folder)})

    return renew


def allow_files(settings: GatewaySettings) -> None:
    """Lets this process open as many files as its connections need. Raises SettingsError if it may not."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = needed_files(settings.max_connections)
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise SettingsError(
            f"TWOTOWER_GATEWAY_MAX_CONNECTIONS={settings.max_connections} needs {needed} open files, "
            f"and the limit is {hard} (ulimit -Hn)"
        )
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
