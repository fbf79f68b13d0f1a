"""The routes about model versions, for keys of scope admin: list, report, map, publication."""

from __future__ import annotations

import orjson
from starlette.requests import Request
from starlette.responses import Response

from gateway.api.request_reader import RequestReader
from gateway.api.responses import answer_response
from gateway.api.state import live_of
from gateway.clients.deadline import Deadline
from twotower.pb import releases_pb2

_POINTS = 600
# a publication hashes every file of the version first
_PUBLISH_SECONDS = 60.0


class ReleaseRoutes:
    """The handlers. They ask the retrieval service, which reads the versions' files."""

    def __init__(self, reader: RequestReader) -> None:
        self._reader = reader

    async def versions(self, request: Request) -> Response:
        found = await live_of(request).releases.list(self._reader.deadline())
        return answer_response(
            {"versions": [_release(one) for one in found.releases], "may_publish": found.may_publish}
        )

    async def report(self, request: Request) -> Response:
        version = request.path_params["version"]
        html = await live_of(request).releases.report(version, self._reader.deadline())
        # a browser that opens it must run nothing of it as a page of the gateway
        return Response(html, media_type="text/html", headers={"Content-Security-Policy": "sandbox"})

    async def map(self, request: Request) -> Response:
        found = await live_of(request).releases.map(_POINTS, self._reader.deadline())
        points = [
            {"product_id": one.product_id, "title": one.title, "category": one.category, "x": one.x, "y": one.y}
            for one in found.points
        ]
        return answer_response({"points": points, "variance": found.variance, "model_version": found.model_version})

    async def publish(self, request: Request) -> Response:
        version = request.path_params["version"]
        published = await live_of(request).releases.publish(version, Deadline.after(_PUBLISH_SECONDS))
        return answer_response({"published": published})


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
