"""ReleaseService of the retrieval service: what people ask about versions, one call at a time."""

from __future__ import annotations

from typing import Any

from gateway.clients.deadline import Deadline
from twotower.pb import releases_pb2, releases_pb2_grpc
from twotower.serving import client

_NAME = "retrieval service"


class ReleaseClient:
    """ReleaseService."""

    def __init__(self, channel: Any) -> None:
        self._stub = releases_pb2_grpc.ReleaseServiceStub(channel)  # type: ignore[no-untyped-call]

    async def list(self, deadline: Deadline) -> releases_pb2.ListResponse:
        """Every version on disk, newest first."""
        return await client.call(self._stub.List, releases_pb2.ListRequest(), deadline.remaining(), _NAME)

    async def report(self, version: str, deadline: Deadline) -> bytes:
        """The report of a version, as HTML. Raises NotFound for an unknown version."""
        request = releases_pb2.ReportRequest(version=version)
        html: bytes = (await client.call(self._stub.Report, request, deadline.remaining(), _NAME)).html
        return html

    async def map(self, products: int, deadline: Deadline) -> releases_pb2.MapResponse:
        """The most popular products of the served version, on a plane."""
        request = releases_pb2.MapRequest(products=products)
        return await client.call(self._stub.Map, request, deadline.remaining(), _NAME)

    async def publish(self, version: str, deadline: Deadline) -> str:
        """Publishes a version. Raises NotConfigured where the service may not, and Conflict if the gate kept it."""
        request = releases_pb2.PublishRequest(version=version)
        answer = await client.call(self._stub.Publish, request, deadline.remaining(), _NAME)
        return str(answer.version)
