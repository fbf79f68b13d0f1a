"""The HTTP server: uvicorn on a socket of ours, with a bound on the request line and on the headers."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import orjson
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.settings import GatewaySettings

# the parser takes no URL past 65,535 bytes; of a longer one this much is kept, which the gateway then refuses: its
# query is over `max_query_bytes` (at most 60,000) or its path is over 5,000 bytes, and no route is that long
_KEPT_URL = 65_000


# twice what nginx lets through by default
_MAX_HEAD = 64 << 10


class _Joined:
    """A transport that sends what is written in one turn of the event loop at once, at its end."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._waiting: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._send)
        self._waiting.append(data)

    def close(self) -> None:
        self._send()
        self._transport.close()

    def _send(self) -> None:
        waiting, self._waiting = self._waiting, []
        if waiting:
            self._transport.write(b"".join(waiting))


class BoundedHttp(HttpToolsProtocol):
    """uvicorn's protocol, but a URL of any length takes little memory, headers past 64 KiB are refused before they are
    all there, and what is not HTTP gets a problem document.

    The head and the body of an answer, which uvicorn writes one by one, go out in one packet.
    """

    # bytes since the last that were of a URL or of a body: of headers, of trailers, of what stands around chunks
    _overhead = 0
    _is_long = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(_Joined(transport))  # type: ignore[arg-type]

    def data_received(self, data: bytes) -> None:
        self._overhead += len(data)
        super().data_received(data)
        # the parser keeps a header that has not ended, however long it is
        if self._overhead > _MAX_HEAD and not self.transport.is_closing():
            self._refuse_head()

    def on_url(self, url: bytes) -> None:
        self._overhead -= len(url)
        super().on_url(url[: _KEPT_URL - len(self.url)])

    def on_headers_complete(self) -> None:
        if sum(len(name) + len(value) for name, value in self.headers) > _MAX_HEAD:
            self._is_long = True
            raise ValueError("the headers are too long")  # for the parser, which stops at it
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._overhead = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._overhead = 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        if self._is_long:
            self._refuse_head()
        else:
            self._refuse(400, "Bad Request", "this is not a valid HTTP request")

    def _refuse_head(self) -> None:
        self._refuse(431, "Request Header Fields Too Large", f"the headers are longer than {_MAX_HEAD} bytes")

    def _refuse(self, status: int, title: str, detail: str) -> None:
        """Answers past the application, which has not seen the request, and hangs up."""
        body = orjson.dumps({"type": "about:blank", "title": title, "status": status, "detail": detail})
        head = (
            f"HTTP/1.1 {status} {title}\r\ncontent-type: application/problem+json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()


def listen(host: str, port: int, shared: bool = False) -> socket.socket:
    """A listening socket, or one of several on the same port. OSError where the port is taken or not ours."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=2048, reuse_port=shared)


def make_server(application: ASGIApp, settings: GatewaySettings) -> uvicorn.Server:
    """A server of the application; it logs nothing itself, and drains for `drain_seconds` when it is told to exit."""
    config = uvicorn.Config(
        application,
        loop="uvloop",
        http=BoundedHttp,
        ws="none",
        lifespan="on",
        access_log=False,
        # nobody asks for the client's address, so nobody need find out what a proxy says of it
        proxy_headers=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=max(1, round(settings.drain_seconds)),
    )
    return uvicorn.Server(config)
