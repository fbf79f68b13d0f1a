"""The routes about model versions, for keys of scope admin: list, report, map, publication."""

from __future__ import annotations

from collections.abc import Callable

import orjson
from starlette.requests import Request
from starlette.responses import Response

from gateway.api.responses import json_response
from gateway.clients.deadline import Deadline
from gateway.clients.releases import Releases
from twotower.pb import releases_pb2
from twotower.serving import telemetry

_POINTS = 600
# a publication hashes every file of the version first
_PUBLISH_SECONDS = 60.0


class ReleaseRoutes:
    """The handlers; `client_of` finds the client of a request."""

    def __init__(self, client_of: Callable[[Request], Releases], timeout_seconds: float) -> None:
        self._client_of, self._seconds = client_of, timeout_seconds

    async def versions(self, request: Request) -> Response:
        found = await self._client_of(request).list(Deadline.after(self._seconds))
        return _json({"versions": [_release(one) for one in found.releases], "may_publish": found.may_publish})

    async def report(self, request: Request) -> Response:
        version = request.path_params["version"]
        html = await self._client_of(request).report(version, Deadline.after(self._seconds))
        # a browser that opens it must run nothing of it as a page of the gateway
        return Response(html, media_type="text/html", headers={"Content-Security-Policy": "sandbox"})

    async def map(self, request: Request) -> Response:
        found = await self._client_of(request).map(_POINTS, Deadline.after(self._seconds))
        points = [
            {"product_id": one.product_id, "title": one.title, "category": one.category, "x": one.x, "y": one.y}
            for one in found.points
        ]
        return _json({"points": points, "variance": found.variance, "model_version": found.model_version})

    async def publish(self, request: Request) -> Response:
        version = request.path_params["version"]
        return _json({"published": await self._client_of(request).publish(version, Deadline.after(_PUBLISH_SECONDS))})


def _json(value: dict[str, object]) -> Response:
    return json_response(value | {"request_id": telemetry.request_id.get()})


def _release(one: releases_pb2.Release) -> dict[str, object]:
    return {
        "version": one.version,
        "created_at": one.created_at,
        "pointer": one.pointer or None,
        "gate": one.gate,
        "notes": list(one.notes),
        "products": one.products,
        "buyers": one.buyers,
        "events": one.events,
        "encoder": one.encoder,
        "metrics": orjson.loads(one.metrics_json) if one.metrics_json else {},
        "has_report": one.has_report,
        "problem": one.problem or None,
    }
