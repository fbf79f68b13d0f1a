"""The handlers for whoever watches the process: alive, ready, metrics."""

from __future__ import annotations

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import Response

from gateway import health, metrics
from gateway.api.responses import json_response
from gateway.api.state import live_of


async def alive(request: Request) -> Response:
    return json_response({"status": "alive"})


async def ready(request: Request) -> Response:
    state = await health.check(live_of(request).dependencies)
    status = "ready" if not state.degraded else "degraded" if state.ready else "unavailable"
    answer = {"status": status, "dependencies": state.dependencies, "degraded": state.degraded}
    return json_response(answer, 200 if state.ready else 503)


async def show_metrics(request: Request) -> Response:
    return Response(metrics.exposition(), media_type=CONTENT_TYPE_LATEST)
