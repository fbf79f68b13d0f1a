"""OpenTelemetry traces: spans of requests, batches and calls. Off, and OpenTelemetry not imported, without an endpoint.

A span ends where it began. `current` is the span under which the running task works, if its request is traced.
"""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextvars import ContextVar
from importlib.metadata import PackageNotFoundError, distribution
from typing import TYPE_CHECKING

from twotower.errors import SettingsError
from twotower.serving.settings import OTLP_VARIABLE, TracedSettings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, Tracer

TRACEPARENT = "traceparent"
# a collector that does not answer delays the end of a process by this time at most
_STOP_SECONDS = 2.0
_PACKAGES = ("opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-grpc")

_EXPORTER_LOG = "opentelemetry.exporter.otlp.proto.grpc.exporter"
_LOG_SECONDS = 60.0

current: ContextVar[Span | None] = ContextVar("span", default=None)
_tracer: Tracer | None = None
_ratio = 0.0
_next_line = 0.0
_clock = time.monotonic


def check(settings: TracedSettings) -> None:
    """Raises SettingsError if traces are asked for and cannot be sent: without the packages, or by another protocol."""
    endpoint, protocol = settings.otlp_endpoint, os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    if endpoint and protocol != "grpc":
        raise SettingsError(f"OTEL_EXPORTER_OTLP_PROTOCOL={protocol!r}: traces are sent by grpc alone")
    for package in _PACKAGES if endpoint else ():
        try:
            distribution(package)
        except PackageNotFoundError:
            raise SettingsError(
                f"{OTLP_VARIABLE}={endpoint}: {package} is not installed; install the extra `tracing`"
            ) from None


def start(service: str, settings: TracedSettings) -> Callable[[], None]:
    """Begins to trace this process as `service` if an endpoint is set. Returns what ends it and sends the last spans.

    Raises what `check` raises.
    """
    global _tracer, _ratio
    check(settings)
    if not settings.otlp_endpoint:
        return lambda: None
    provider = _provider(service, settings.otlp_endpoint)
    # a logger has each filter once, however often it is added
    logging.getLogger(_EXPORTER_LOG).addFilter(_is_due)
    _tracer, _ratio = provider.get_tracer("twotower"), settings.trace_sampling

    def stop() -> None:
        global _tracer
        _tracer = None
        sending = threading.Thread(target=provider.shutdown, daemon=True)
        sending.start()
        sending.join(_STOP_SECONDS)

    return stop


def _provider(service: str, endpoint: str) -> TracerProvider:
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased

    resource = Resource.create({"service.name": service, "service.namespace": "twotower"})
    # `begin_request` draws before it makes a span: one that is not recorded would cost as much as three batches
    provider = TracerProvider(ParentBased(ALWAYS_ON), resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint)))
    return provider


def is_on() -> bool:
    """Whether this process records spans."""
    return _tracer is not None


def trace_id() -> str:
    """The id of the running task's trace, 32 hexadecimal digits, or ""."""
    span = current.get()
    return "" if span is None else f"{span.get_span_context().trace_id:032x}"


def traceparent() -> str:
    """The W3C header that makes a call a part of the running task's trace, or ""."""
    span = current.get()
    if span is None:
        return ""
    at = span.get_span_context()
    return f"00-{at.trace_id:032x}-{at.span_id:016x}-{at.trace_flags:02x}"


def recording() -> Span | None:
    """The running task's span if it is recorded."""
    span = current.get()
    return span if span is not None and span.is_recording() else None


def begin_request(method: str, headers: Iterable[tuple[bytes, bytes]]) -> Span | None:
    """Makes the span of an HTTP request the current one.

    A caller's `traceparent` decides whether it is recorded; without one, the sampling ratio does. None if there is
    neither a caller's trace nor one of its own.
    """
    given = next((value for name, value in headers if name == b"traceparent"), None)
    span = None
    if given is not None:
        span = _begin_server(method, given.decode("latin-1"))
    if span is None and _tracer is not None and random.random() < _ratio:
        span = _begin_server(method, "")
    current.set(span)
    return span


def end_request(span: Span, method: str, route: str, status: int, request_id: str) -> None:
    """Ends the span of a request. Holds no path, query or body: they name buyers."""
    if span.is_recording():
        span.update_name(f"{method} {route}")
        span.set_attributes(
            {
                "http.request.method": method,
                "http.route": route,
                "http.response.status_code": status,
                "twotower.request_id": request_id,
            }
        )
        if status >= 500 or not status:
            _mark_failed(span, str(status))
    span.end()


def begin_batch(name: str, spans: Sequence[Span | None]) -> Span | None:
    """Makes the span of a batch the current one, if one of its calls is recorded; None otherwise.

    `spans`: those of the calls' requests. The batch is a child of the first recorded one and links all of them; those
    of other traces link the batch.
    """
    recorded = list(dict.fromkeys(one for one in spans if one is not None))
    if not recorded or _tracer is None:
        current.set(None)
        return None
    from opentelemetry.trace import Link, SpanKind, set_span_in_context

    batch = _tracer.start_span(
        f"batch {name}",
        set_span_in_context(recorded[0]),
        SpanKind.CLIENT,
        {"twotower.batch.calls": len(spans)},
        [Link(one.get_span_context()) for one in recorded],
    )
    for other in recorded[1:]:
        other.add_link(batch.get_span_context())
    current.set(batch)
    return batch


def end_batch(batch: Span, results: Sequence[object]) -> None:
    """Ends the span of a batch, failed if all of its calls are."""
    errors = [one for one in results if isinstance(one, Exception)]
    batch.set_attribute("twotower.batch.failed", len(errors))
    if errors and len(errors) == len(results):
        _mark_failed(batch, type(errors[0]).__name__)
    batch.end()


def begin_call(method: str, given: str) -> Span | None:
    """Makes the span of a gRPC call the current one. None without a caller's `traceparent`: no call begins a trace."""
    span = _begin_server(method, given) if given and _tracer is not None else None
    current.set(span)
    return span


def end_call(span: Span, status: str) -> None:
    """Ends the span of a gRPC call with the name of its status."""
    span.set_attributes({"rpc.system": "grpc", "rpc.grpc.status": status})
    if status != "OK":
        _mark_failed(span, status)
    span.end()


def _begin_server(name: str, given: str) -> Span | None:
    """The span of what this process is asked for; one of a caller that does not record records nothing either.

    None if the caller's header cannot be read.
    """
    from opentelemetry.context import Context
    from opentelemetry.trace import NonRecordingSpan, SpanKind, get_current_span
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    assert _tracer is not None
    parent = TraceContextTextMapPropagator().extract({TRACEPARENT: given}, Context()) if given else Context()
    asked = get_current_span(parent).get_span_context()
    if given and not asked.is_valid:
        return None
    if given and not asked.trace_flags.sampled:
        return NonRecordingSpan(asked)
    return _tracer.start_span(name, parent, SpanKind.SERVER)


def _mark_failed(span: Span, reason: str) -> None:
    from opentelemetry.trace import StatusCode

    span.set_attribute("error.type", reason)
    span.set_status(StatusCode.ERROR)


def _is_due(record: logging.LogRecord) -> bool:
    """One line a minute about a collector that takes no traces; it is tried every few seconds."""
    global _next_line
    if (now := _clock()) < _next_line:
        return False
    _next_line = now + _LOG_SECONDS
    return True
