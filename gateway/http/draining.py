"""How the gateway begins and ends to serve, so that neither shows to a client that can ask another gateway or worker.

It listens only when its application is ready: until then a connection is refused at once and goes elsewhere. When it is
asked to end, it first answers all that has reached it.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# how long an idle connection is kept when the gateway ends: its client may just have sent a request
LINGER_SECONDS = 0.5


class DrainingServer(uvicorn.Server):
    """uvicorn's server; calls `on_listening` when it listens, and resets no connection that waits to be accepted."""

    def __init__(self, config: uvicorn.Config, on_listening: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_listening = on_listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_listening()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # closing the socket would reset the connections in its queue: the loop accepts them in its next round
        for _ in range(2):
            await asyncio.sleep(0)
        await super().shutdown(sockets)


class DrainingHttp(HttpToolsProtocol):
    """uvicorn's protocol; when the server ends, an idle connection may send one more request within half a second."""

    _is_draining = False

    def shutdown(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self._is_draining = True
            self.loop.call_later(LINGER_SECONDS, self._close_if_idle)
        else:
            super().shutdown()

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        if self._is_draining and self.cycle is not None:
            # the answer says "connection: close"
            self.cycle.keep_alive = False

    def _close_if_idle(self) -> None:
        super().shutdown()


def bind(host: str, port: int, shared: bool = False) -> socket.socket:
    """A socket that has a port and does not listen; with `shared`, one of several that share the port.

    Raises OSError if the host is not local, or if another process listens on the port without sharing it.
    """
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if bound.family == socket.AF_INET6:
            # as the services do it: all addresses are those of IPv4 too
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, host != "::")
        bound.bind((host, port))
    except OSError:
        bound.close()
        raise
    return bound
