"""Spans of one process: what is sampled, what a batch links, and that nothing is there while tracing is off."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError

import pytest

from gateway.clients.batching import Batcher, Limits
from gateway.clients.deadline import Deadline
from item_service.settings import ItemSettings
from tests.helpers.collector import Collector, collecting
from twotower.errors import SettingsError, Unavailable
from twotower.serving import tracing
from twotower.serving.settings import TracedSettings, read_settings
from twotower.serving.telemetry import JsonFormatter

TRACE = "0af7651916cd43dd8448eb211c80319c"
OTHER = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = "b7ad6b7169203331"


def header(trace: str = TRACE, flags: str = "01") -> list[tuple[bytes, bytes]]:
    return [(b"host", b"x"), (b"traceparent", f"00-{trace}-{CALLER}-{flags}".encode())]


@contextmanager
def traced(sampling: float = 0.0) -> Iterator[Collector]:
    """Tracing of this process into a collector, which has every span when the block ends."""
    with collecting() as collector:
        stop = tracing.start("gateway", TracedSettings(otlp_endpoint=collector.endpoint, trace_sampling=sampling))
        try:
            yield collector
        finally:
            stop()
            tracing.current.set(None)


def test_off_means_no_span_and_no_import() -> None:
    code = "import sys, item_service.servicer; print([m for m in sys.modules if m.startswith('opentelemetry')])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
    assert not tracing.is_on()
    assert (tracing.trace_id(), tracing.traceparent(), tracing.recording()) == ("", "", None)
    assert tracing.begin_batch("b", [None]) is None
    assert tracing.begin_call("Encode", f"00-{TRACE}-{CALLER}-01") is None


def test_a_request_is_part_of_its_callers_trace_whatever_the_ratio() -> None:
    with traced(sampling=0.0) as collector:
        span = tracing.begin_request("GET", header())
        assert span is not None
        assert tracing.trace_id() == TRACE
        tracing.end_request(span, "GET", "/retrieve", 200, "r1")
    (one,) = collector.spans
    assert (one.service, one.name, one.trace, one.parent) == ("gateway", "GET /retrieve", TRACE, CALLER)
    assert one.attributes == {
        "http.request.method": "GET",
        "http.route": "/retrieve",
        "http.response.status_code": 200,
        "twotower.request_id": "r1",
    }
    assert not one.failed


def test_a_callers_trace_that_is_not_recorded_is_only_passed_on() -> None:
    with traced(sampling=1.0) as collector:
        span = tracing.begin_request("GET", header(flags="00"))
        assert span is not None
        assert tracing.recording() is None
        assert tracing.traceparent() == f"00-{TRACE}-{CALLER}-00"
        tracing.end_request(span, "GET", "/retrieve", 200, "r1")
    assert collector.spans == []


@pytest.mark.parametrize("value", [b"00-nonsense", b"", b"00-" + b"0" * 32 + b"-b7ad6b7169203331-01", b"\xff"])
def test_a_header_that_cannot_be_read_counts_as_none(value: bytes) -> None:
    with traced(sampling=1.0) as collector:
        span = tracing.begin_request("GET", [(b"traceparent", value)])
        assert span is not None
        tracing.end_request(span, "GET", "/healthz", 200, "r")
    (one,) = collector.spans
    assert one.parent == ""


def test_the_ratio_is_the_share_of_requests_without_a_trace() -> None:
    with traced(sampling=0.25) as collector:
        for number in range(2000):
            if span := tracing.begin_request("GET", ()):
                tracing.end_request(span, "GET", "/healthz", 200, str(number))
    # 500 expected, standard deviation 19
    assert 400 < len(collector.spans) < 600
    assert len({one.trace for one in collector.spans}) == len(collector.spans)


def test_a_failed_request_is_marked() -> None:
    with traced(sampling=1.0) as collector:
        for status in (404, 503):
            span = tracing.begin_request("GET", ())
            assert span is not None
            tracing.end_request(span, "GET", "/similar", status, "r")
    assert [(one.attributes["http.response.status_code"], one.failed) for one in collector.spans] == [
        (404, False),
        (503, True),
    ]


def make_batcher(answer: Exception | None = None) -> tuple[Batcher[str, str], list[str]]:
    """A batcher that returns its calls, or fails them, and the trace contexts that its batches sent."""
    sent: list[str] = []

    async def send(group: str, requests: list[str], timeout: float) -> Sequence[str | Exception]:
        sent.append(tracing.traceparent())
        if answer:
            raise answer
        return requests

    return Batcher("buyer service", send, Limits()), sent


async def ask(batcher: Batcher[str, str], headers: Sequence[tuple[bytes, bytes]], name: str) -> None:
    span = tracing.begin_request("GET", headers)
    try:
        await batcher.call(name, Deadline.after(5))
    finally:
        if span is not None:
            tracing.end_request(span, "GET", f"/{name}", 200, name)


async def test_a_batch_is_a_child_of_one_request_and_linked_with_all_traced_ones() -> None:
    with traced() as collector:
        batcher, sent = make_batcher()
        untraced = (ask(batcher, (), name) for name in ("x", "y"))
        await asyncio.gather(*untraced, ask(batcher, header(), "a"), ask(batcher, header(OTHER), "b"))
        await batcher.close()
    spans = {one.name: one for one in collector.spans}
    batch, first, second = spans["batch buyer service"], spans["GET /a"], spans["GET /b"]
    assert len(spans) == 3
    assert (batch.trace, batch.parent) == (TRACE, first.id)
    assert batch.links == [first.id, second.id]
    assert second.links == [batch.id]
    assert batch.attributes == {"twotower.batch.calls": 4, "twotower.batch.failed": 0}
    assert sent == [f"00-{TRACE}-{batch.id}-01"]


async def test_a_batch_without_a_traced_request_is_in_no_trace() -> None:
    """Its task is begun from a traced request's, and would have that one's context."""
    with traced() as collector:
        batcher, sent = make_batcher()
        await asyncio.gather(ask(batcher, header(), "a"), ask(batcher, (), "x"))
        await ask(batcher, (), "y")
        await batcher.close()
    assert len(sent) == 2
    assert sent[1] == ""
    assert {one.name for one in collector.spans} == {"GET /a", "batch buyer service"}


async def test_a_failed_batch_says_so() -> None:
    with traced() as collector:
        batcher, _ = make_batcher(Unavailable("down"))
        with pytest.raises(Unavailable):
            await ask(batcher, header(), "a")
        await batcher.close()
    batch = next(one for one in collector.spans if one.name.startswith("batch"))
    assert batch.failed
    assert batch.attributes["error.type"] == "Unavailable"
    assert batch.attributes["twotower.batch.failed"] == 1


def test_log_lines_hold_the_trace() -> None:
    record = logging.LogRecord("x", logging.INFO, "f", 1, "hello", (), None)
    with traced():
        span = tracing.begin_request("GET", header())
        assert json.loads(JsonFormatter("gateway").format(record))["trace_id"] == TRACE
        assert span is not None
        tracing.end_request(span, "GET", "/", 200, "r")
    assert "trace_id" not in json.loads(JsonFormatter("gateway").format(record))


def test_a_collector_that_does_not_answer_does_not_hold_up_the_end() -> None:
    with collecting() as collector:
        endpoint = collector.endpoint
    stop = tracing.start("gateway", TracedSettings(otlp_endpoint=endpoint, trace_sampling=1.0))
    span = tracing.begin_request("GET", ())
    assert span is not None
    tracing.end_request(span, "GET", "/", 200, "r")
    # the exporter would try for ten seconds; the test's own limit is far above
    stop()
    tracing.current.set(None)
    assert not tracing.is_on()


def test_a_collector_that_is_away_is_said_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now, record = 1000.0, logging.makeLogRecord({})
    monkeypatch.setattr(tracing, "_clock", lambda: now)
    monkeypatch.setattr(tracing, "_next_line", 0.0)
    with traced():
        assert tracing._is_due in logging.getLogger("opentelemetry.exporter.otlp.proto.grpc.exporter").filters
    shown = []
    for seconds in (0, 5, 54, 2, 30):
        now += seconds
        shown.append(tracing._is_due(record))
    assert shown == [True, False, False, True, False]


def test_the_endpoint_is_ours_or_the_standard_variable() -> None:
    ours, standard = "http://127.0.0.1:4317", "http://collector:4317"
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": standard}
    assert read_settings(ItemSettings, "item", environ).otlp_endpoint == standard
    both = read_settings(
        ItemSettings, "item", environ | {"TWOTOWER_OTLP_ENDPOINT": ours, "TWOTOWER_TRACE_SAMPLING": "1"}
    )
    assert (both.otlp_endpoint, both.trace_sampling) == (ours, 1.0)
    with pytest.raises(SettingsError, match="TWOTOWER_OTLP_ENDPOINT='collector:4317'"):
        read_settings(ItemSettings, "item", {"TWOTOWER_OTLP_ENDPOINT": "collector:4317"})
    with pytest.raises(SettingsError, match="TWOTOWER_TRACE_SAMPLING='2'"):
        read_settings(ItemSettings, "item", {"TWOTOWER_TRACE_SAMPLING": "2"})


def test_what_cannot_be_sent_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = TracedSettings(otlp_endpoint="http://127.0.0.1:4317")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
    with pytest.raises(SettingsError, match="by grpc alone"):
        tracing.start("gateway", settings)
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_PROTOCOL")

    def missing(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(tracing, "distribution", missing)
    with pytest.raises(SettingsError, match="opentelemetry-sdk is not installed; install the extra `tracing`"):
        tracing.start("gateway", settings)
    assert not tracing.is_on()
