"""The scheduler's port: /healthz, /readyz and /metrics."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterable
from threading import Thread
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.types import StartResponse, WSGIEnvironment

from prometheus_client import make_wsgi_app

from trainer.schedule.scheduler import Health


class _Quiet(WSGIRequestHandler):
    """Logs no request."""

    def log_message(self, format: str, *args: object) -> None:
        pass


class _Server6(WSGIServer):
    address_family = socket.AF_INET6


def serve(host: str, port: int, health: Callable[[], Health]) -> int:
    """Serves in a thread of its own and returns the port; 0 asks for a free one. Raises OSError."""
    exposition = make_wsgi_app()

    def answer(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path == "/metrics":
            body: Iterable[bytes] = exposition(environ, start)
            return body
        if path == "/healthz":
            return _json(start, "200 OK", {"status": "alive"})
        if path == "/readyz":
            state = health()
            status = "200 OK" if state.is_ready else "503 Service Unavailable"
            return _json(start, status, {"status": "ready" if state.is_ready else "failing", "jobs": state.jobs})
        return _json(start, "404 Not Found", {"title": "no such page"})

    server = make_server(host, port, answer, _Server6 if ":" in host else WSGIServer, _Quiet)
    Thread(target=server.serve_forever, daemon=True).start()
    return int(server.server_port)


def _json(start: StartResponse, status: str, content: object) -> Iterable[bytes]:
    start(status, [("Content-Type", "application/json")])
    return [json.dumps(content, ensure_ascii=False).encode()]
