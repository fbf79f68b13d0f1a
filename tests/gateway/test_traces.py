"""One request, four processes, one trace: an OTLP collector gets the spans of gateway and services."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.helpers.collector import Collector, Span, collecting
from tests.helpers.processes import Process, is_log, process
from tests.helpers.redis_server import RedisServer
from tests.helpers.services import cache_of, until
from tests.helpers.stack import as_json, event

CALLER = "b7ad6b7169203331"


@dataclass
class Shop:
    """A running gateway, the processes by name, and the collector of their spans."""

    client: httpx.Client
    processes: dict[str, Process]
    collector: Collector

    def get(self, path: str, trace: str, flags: str = "01", **query: object) -> httpx.Response:
        """A request that its caller traces."""
        headers = {"traceparent": f"00-{trace}-{CALLER}-{flags}"}
        return self.client.get(path, params=query, headers=headers)  # type: ignore[arg-type]

    async def spans(self, trace: str, *names: str) -> list[Span]:
        """The spans of a trace, once all of these names are there: "service name"."""

        def there(spans: list[Span]) -> bool:
            return set(names) <= {str(one) for one in spans}

        return await until(lambda: self.collector.trace(trace), there)


@pytest.fixture(scope="module")
def shop(tiny: Path, server: RedisServer) -> Iterator[Shop]:
    """All services as processes that trace what their callers trace, and nothing else."""
    server.mark_loaded()
    with collecting() as collector, ExitStack() as exits:
        traced = {"OTEL_BSP_SCHEDULE_DELAY": "50", "TWOTOWER_TRACE_SAMPLING": "0", "TWOTOWER_LOG_LEVEL": "DEBUG"}
        # two by our name of the setting, two by the standard one
        ours, standard = (
            {"TWOTOWER_OTLP_ENDPOINT": collector.endpoint},
            {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint},
        )
        folders = {"TWOTOWER_ARTIFACTS": str(tiny), "TWOTOWER_CACHE": str(cache_of(tiny))}
        processes = {}
        for name, endpoint in (("item", ours), ("buyer", standard), ("retrieval", ours)):
            environ = {**folders, **traced, **endpoint}
            processes[name] = exits.enter_context(process("-m", f"{name}_service", environ=environ))
        addresses = {}
        for name, one in processes.items():
            port = json.loads(one.wait_for(lambda line: is_log(line, "listening")))["port"]
            addresses[f"TWOTOWER_GATEWAY_{name.upper()}_ADDRESS"] = f"127.0.0.1:{port}"
        environ = {**addresses, **traced, **standard, "TWOTOWER_GATEWAY_PORT": "0"}
        environ["TWOTOWER_GATEWAY_REDIS_URL"] = server.url
        # on a busy machine too, no call is sent twice or answered without its history
        environ |= {"TWOTOWER_GATEWAY_HEDGE_SECONDS": "60", "TWOTOWER_GATEWAY_REQUEST_TIMEOUT_SECONDS": "60"}
        processes["gateway"] = exits.enter_context(process("-m", "gateway", environ=environ))
        port = json.loads(processes["gateway"].wait_for(lambda line: is_log(line, "listening")))["port"]
        client = exits.enter_context(httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False))
        history = {"buyer_id": "b", "recent_interactions": as_json([event("p4"), event("p8", "Purchase", 2)])}
        assert client.post("/encode_buyer", json=history).status_code == 200
        yield Shop(client, processes, collector)


def check_call(spans: list[Span], request: str, batch: str, call: str) -> None:
    """The call's parent is the batch; the batch's parent is the request, which it links, too."""
    (asked,), (answered,) = ([one for one in spans if str(one) == name] for name in (request, call))
    (sent,) = [one for one in spans if one.id == answered.parent]
    assert (str(sent), sent.parent, sent.links) == (batch, asked.id, [asked.id])
    assert answered.attributes == {"rpc.system": "grpc", "rpc.grpc.status": "OK"}


RETRIEVE = ("gateway GET /retrieve", "buyer_service Encode", "retrieval_service Search")


async def test_retrieve_is_one_trace_through_redis_buyer_and_retrieval_service(shop: Shop) -> None:
    trace = "a" * 32
    assert shop.get("/retrieve", trace, buyer_id="b", k=5).json()["source"] == "model"
    spans = await shop.spans(trace, *RETRIEVE)
    batches = ["gateway batch Redis reads", "gateway batch buyer service", "gateway batch retrieval service"]
    assert sorted(map(str, spans)) == sorted([*RETRIEVE, *batches])
    (request,) = [one for one in spans if str(one) == RETRIEVE[0]]
    assert request.parent == CALLER
    assert [one.parent for one in spans if str(one) == batches[0]] == [request.id]
    check_call(spans, RETRIEVE[0], batches[1], "buyer_service Encode")
    check_call(spans, RETRIEVE[0], batches[2], "retrieval_service Search")
    assert not any(one.failed for one in spans)


async def test_search_is_one_trace_through_item_and_retrieval_service(shop: Shop) -> None:
    trace, request = "b" * 32, "gateway GET /search"
    assert shop.get("/search", trace, q="خاتم ذهب", k=5).status_code == 200
    spans = await shop.spans(trace, request, "item_service Encode", "retrieval_service Search")
    check_call(spans, request, "gateway batch item service", "item_service Encode")
    check_call(spans, request, "gateway batch retrieval service", "retrieval_service Search")


async def test_unary_calls_pass_the_trace_in_their_metadata(shop: Shop) -> None:
    popular, typed = "c" * 32, "d" * 32
    assert shop.get("/popular", popular, k=5).status_code == 200
    spans = await shop.spans(popular, "gateway GET /popular", "retrieval_service Popular")
    check_call(spans, "gateway GET /popular", "gateway batch retrieval service", "retrieval_service Popular")
    assert shop.get("/suggest", typed, q="خات").status_code == 200
    spans = await shop.spans(typed, "gateway GET /suggest", "item_service Suggest")
    # it is not batched
    parents = {str(one): one.parent for one in spans}
    assert parents["item_service Suggest"] == next(one.id for one in spans if str(one) == "gateway GET /suggest")


async def test_a_trace_that_its_caller_does_not_record_is_not_recorded(shop: Shop) -> None:
    silent, recorded = "e" * 32, "f" * 32
    for trace, flags in ((silent, "00"), (recorded, "01")):
        assert shop.get("/retrieve", trace, flags, buyer_id="b", k=5).status_code == 200
    assert shop.client.get("/retrieve", params={"buyer_id": "b"}).status_code == 200
    # spans are sent in the order of their ends
    await shop.spans(recorded, *RETRIEVE)
    assert shop.collector.trace(silent) == []
    line = json.loads(shop.processes["gateway"].wait_for(lambda line: silent in line))
    assert (line["trace_id"], line["path"], line["status"]) == (silent, "/retrieve", 200)


async def test_the_logs_of_every_process_hold_the_trace(shop: Shop) -> None:
    retrieve, search = "1" * 32, "2" * 32
    assert shop.get("/retrieve", retrieve, buyer_id="b", k=5).status_code == 200
    assert shop.get("/search", search, q="خاتم", k=5).status_code == 200
    for name, trace in (("gateway", retrieve), ("buyer", retrieve), ("retrieval", retrieve), ("item", search)):
        line = json.loads(shop.processes[name].wait_for(lambda line, trace=trace: trace in line))  # type: ignore[misc]
        assert line["trace_id"] == trace


async def test_no_span_names_a_buyer_or_what_was_searched_for(shop: Shop) -> None:
    trace = "3" * 32
    assert shop.get("/retrieve", trace, buyer_id="buyer-with-a-name", k=5).status_code == 200
    assert shop.get("/search", trace, q="very-private", k=5).status_code == 200
    names = ("gateway GET /retrieve", "retrieval_service Popular", "gateway GET /search", "item_service Encode")
    exported = "".join(map(repr, await shop.spans(trace, *names)))
    assert "buyer-with-a-name" not in exported
    assert "very-private" not in exported
