"""An OTLP collector in the test's own process: a gRPC server that decodes what is exported and keeps the spans."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc


@dataclass(frozen=True)
class Span:
    """One span as it was exported; ids are hexadecimal, `links` are the ids of spans."""

    service: str
    name: str
    trace: str
    id: str
    parent: str
    links: list[str]
    attributes: dict[str, Any]
    failed: bool

    def __str__(self) -> str:
        return f"{self.service} {self.name}"


@dataclass
class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """The spans received so far."""

    endpoint: str = ""
    spans: list[Span] = field(default_factory=list)

    def Export(self, request: trace_service_pb2.ExportTraceServiceRequest, context: object) -> Any:
        for resource in request.resource_spans:
            service = _attributes(resource.resource.attributes)["service.name"]
            self.spans += [_span(service, one) for scope in resource.scope_spans for one in scope.spans]
        return trace_service_pb2.ExportTraceServiceResponse()

    def trace(self, trace_id: str) -> list[Span]:
        """The spans of one trace."""
        return [one for one in self.spans if one.trace == trace_id]


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector on a free port."""
    server, collector = grpc.server(ThreadPoolExecutor(2)), Collector()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)
    collector.endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield collector
    finally:
        server.stop(None).wait()


def _span(service: str, one: Any) -> Span:
    links = [link.span_id.hex() for link in one.links]
    attributes, failed = _attributes(one.attributes), one.status.code == one.status.STATUS_CODE_ERROR
    parent = one.parent_span_id.hex()
    return Span(service, one.name, one.trace_id.hex(), one.span_id.hex(), parent, links, attributes, failed)


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}
