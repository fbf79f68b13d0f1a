"""The HTTP server: uvicorn on a socket of ours, with a bound on the request line."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import orjson
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.app import create_app
from gateway.settings import GatewaySettings

# the parser takes no URL past 65,535 bytes; of a longer one this much is kept, which the gateway then refuses: its
# query is over `max_query_bytes` (at most 60,000) or its path is over 5,000 bytes, and no route is that long
_KEPT_URL = 65_000


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
    """uvicorn's protocol, but a URL of any length takes little memory, and what is not HTTP gets a problem document.

    The head and the body of an answer, which uvicorn writes one by one, go out in one packet.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(_Joined(transport))  # type: ignore[arg-type]

    def on_url(self, url: bytes) -> None:
        super().on_url(url[: _KEPT_URL - len(self.url)])

    def send_400_response(self, msg: str) -> None:
        document = {
            "type": "about:blank",
            "title": "Bad Request",
            "status": 400,
            "detail": "this is not a valid HTTP request",
        }
        body = orjson.dumps(document)
        head = f"HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json\r\ncontent-length: {len(body)}\r\n"
        self.transport.write(head.encode() + b"connection: close\r\n\r\n" + body)
        self.transport.close()


def listen(host: str, port: int, shared: bool = False) -> socket.socket:
    """A listening socket, or one of several on the same port. OSError where the port is taken or not ours."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=2048, reuse_port=shared)


def make_server(settings: GatewaySettings) -> uvicorn.Server:
    """A server of the application; it logs nothing itself, and drains for `drain_seconds` when it is told to exit."""
    config = uvicorn.Config(
        create_app(settings),
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
