"""The HTTP server: uvicorn on a listening socket, with limits on the request line and on the headers.

Why uvicorn and not granian: granian 2.8 costs the gateway 0.88 to 0.96 times the CPU of uvicorn for /retrieve and 1.2
times for /encode_buyer, has no hook for the answer to malformed HTTP (a body of zero bytes, where the API promises
problem documents), and its workers outlive a killed parent.
"""

from __future__ import annotations

import socket

import orjson
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.settings import GatewaySettings

# The parser fails above 65,535 bytes. A URL cut to this length is refused later: its query is longer than
# `max_query_bytes` (at most 60,000), or its path is longer than 5,000 bytes, and no route is.
_MAX_KEPT_URL = 65_000
# twice nginx's default
_MAX_HEADERS = 64 << 10


class BoundedHttp(HttpToolsProtocol):
    """uvicorn's protocol with limits that uvicorn has for its slower h11 parser only.

    A URL of any length takes little memory. Headers above 64 KiB get a 431 before all of them have arrived; without
    this, uvicorn accepts them, and keeps one that never ends. Malformed HTTP gets a problem document. The limits cost
    no measurable CPU (28 to 31 us for a bare /healthz with and without them).
    """

    # bytes since the last byte of a URL or a body: headers, trailers, and what surrounds chunks
    _overhead = 0
    _headers_too_long = False

    def data_received(self, data: bytes) -> None:
        self._overhead += len(data)
        super().data_received(data)
        # the parser keeps an unfinished header, however long
        if self._overhead > _MAX_HEADERS and not self.transport.is_closing():
            self._refuse_headers()

    def on_url(self, url: bytes) -> None:
        self._overhead -= len(url)
        super().on_url(url[: _MAX_KEPT_URL - len(self.url)])

    def on_headers_complete(self) -> None:
        if sum(len(name) + len(value) for name, value in self.headers) > _MAX_HEADERS:
            self._headers_too_long = True
            raise ValueError("the headers are too long")  # stops the parser
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._overhead = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._overhead = 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        if self._headers_too_long:
            self._refuse_headers()
        else:
            self._refuse(400, "Bad Request", "this is not a valid HTTP request")

    def _refuse_headers(self) -> None:
        self._refuse(431, "Request Header Fields Too Large", f"the headers are longer than {_MAX_HEADERS} bytes")

    def _refuse(self, status: int, title: str, detail: str) -> None:
        """Answers without the application and closes the connection."""
        body = orjson.dumps({"type": "about:blank", "title": title, "status": status, "detail": detail})
        head = (
            f"HTTP/1.1 {status} {title}\r\ncontent-type: application/problem+json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()


def listen(host: str, port: int, shared: bool = False) -> socket.socket:
    """A listening socket; with `shared`, one of several on the same port. Raises OSError if it cannot have the port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=2048, reuse_port=shared)


def make_server(application: ASGIApp, settings: GatewaySettings) -> uvicorn.Server:
    """A server that logs nothing itself and, when asked to exit, gives running requests `drain_seconds` to finish."""
    config = uvicorn.Config(
        application,
        loop="uvloop",
        http=BoundedHttp,
        ws="none",
        lifespan="on",
        access_log=False,
        # nothing reads the client's address, so no need to parse a proxy's headers
        proxy_headers=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=max(1, round(settings.drain_seconds)),
    )
    return uvicorn.Server(config)
