"""The server of the gRPC services: health, drain, logs, and versions that come and go."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.helpers.gate_cases import RING, Gate, inside
from tests.helpers.redis_server import free_port
from tests.helpers.services import health, running, until
from tests.helpers.tiny_version import build_version
from twotower import errors
from twotower.pb import item_pb2, item_pb2_grpc
from twotower.serving import telemetry, wire
from twotower.serving.client import call, connect
from twotower.serving.telemetry import JsonFormatter

SERVICE = "twotower.item.v1.ItemService"


async def test_stopping_drains_the_call_in_flight_and_takes_no_new_one(tiny: Path, gate: Gate) -> None:
    async with running("item", tiny) as service, connect(service.address) as channel:
        stub = item_pb2_grpc.ItemServiceStub(channel)
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=SERVICE))
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        flying = asyncio.ensure_future(stub.Encode(RING))
        await inside(gate)
        service.stop.set()
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        watch.cancel()
        assert await until(lambda: health(service.address), lambda answer: answer != "NOT_SERVING") == "UNAVAILABLE"
        assert not service.task.done()
        gate.open.set()
        assert len((await flying).items) == 1
        await service.task


async def test_a_service_listens_only_once_a_version_is_loaded(tmp_path: Path) -> None:
    artifacts = tmp_path / "artifacts"
    async with AsyncExitStack() as stack:
        starting = asyncio.create_task(stack.enter_async_context(running("item", artifacts, ready=False)))
        # ten looks at CURRENT find none
        await asyncio.sleep(0.2)
        assert not starting.done()
        build_version(artifacts, "a")
        service = await starting
        channel = await stack.enter_async_context(connect(service.address))
        for name in ("", SERVICE):
            assert await health(service.address, name) == "SERVING"
        assert await health(service.address, "nothing.of.the.kind") == "NOT_FOUND"
        await call(item_pb2_grpc.ItemServiceStub(channel).Encode, RING, 10, "item service")


@pytest.mark.parametrize("field", ["port", "metrics_port"])
async def test_a_port_that_is_taken_is_named(tiny: Path, field: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        from item_service.servicer import serve
        from item_service.settings import ItemSettings

        with pytest.raises(SystemExit, match=f"item_service: cannot .* 127.0.0.1:{port}"):
            await serve(ItemSettings(artifacts=tiny, **{field: port}))


async def test_the_metrics_end_with_the_service(tiny: Path) -> None:
    port = free_port()

    def is_open() -> bool:
        with socket.socket() as one:
            return one.connect_ex(("127.0.0.1", port)) == 0

    async with running("item", tiny, metrics_port=port):
        assert is_open()
    await until(lambda: not is_open())


async def test_log_lines_of_a_call_carry_the_request_id_of_its_caller(
    item: item_pb2_grpc.ItemServiceStub, caplog: pytest.LogCaptureFixture
) -> None:
    lines: list[dict[str, Any]] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(json.loads(JsonFormatter("item").format(record)))

    handler, logger = Keep(), logging.getLogger("twotower.serving")
    logger.addHandler(handler)
    telemetry.request_id.set("ask-1")
    try:
        # the line may be written after the answer has come
        with caplog.at_level(logging.INFO, "twotower.serving"):
            with pytest.raises(errors.InvalidInput):
                await call(item.Encode, item_pb2.EncodeRequest(), 10, "item service")
            (line,) = await until(lambda: [one for one in lines if one["message"] == "call answered"])
    finally:
        logger.removeHandler(handler)
        telemetry.request_id.set("")
    assert line["request_id"] == "ask-1"
    assert line["service"] == "item"
    assert (line["method"], line["status"]) == ("Encode", "INVALID_ARGUMENT")


async def test_a_message_over_the_limit_is_refused_and_the_service_goes_on(tiny: Path) -> None:
    async with running("item", tiny, max_message_mb=1) as service, connect(service.address) as channel:
        stub = item_pb2_grpc.ItemServiceStub(channel)
        with pytest.raises(errors.Overloaded, match="larger than max"):
            await call(stub.Encode, item_pb2.EncodeRequest(model_version="x" * (2 << 20)), 10, "item service")
        assert len((await stub.Encode(RING)).items) == 1


async def test_a_swap_under_load_fails_no_call_and_mixes_no_versions(artifacts: Path) -> None:
    async with running("item", artifacts, threads=2) as service, connect(service.address) as channel:
        stub = item_pb2_grpc.ItemServiceStub(channel)
        seen: dict[str, set[bytes]] = {}
        done = asyncio.Event()

        async def keep_asking() -> None:
            while not done.is_set():
                answer = await stub.Encode(RING)
                seen.setdefault(answer.vectors.model_version, set()).add(answer.vectors.data)

        askers = [asyncio.create_task(keep_asking()) for _ in range(4)]
        await until(lambda: "a" in seen)
        with ThreadPoolExecutor(1) as pool:
            await asyncio.get_running_loop().run_in_executor(pool, lambda: build_version(artifacts, "b", seed=1))
        await until(lambda: "b" in seen)
        old = await stub.Encode(item_pb2.EncodeRequest(items=RING.items, model_version="a"))
        done.set()
        await asyncio.gather(*askers)
        assert set(seen) == {"a", "b"}
        assert [len(vectors) for vectors in seen.values()] == [1, 1]  # one vector per version, never a mixture
        assert {old.vectors.data} == seen["a"]
        assert seen["a"] != seen["b"]


@pytest.mark.parametrize(
    ("service", "name"),
    [("item", "item_tower.onnx"), ("buyer", "buyer_tower.onnx"), ("retrieval", "product_index.faiss")],
)
async def test_a_running_service_refuses_a_corrupt_version_and_takes_the_next_good_one(
    artifacts: Path, service: str, name: str
) -> None:
    refused = telemetry.VERSION_LOADS.labels("refused")._value
    current = telemetry.MODEL_INFO.labels
    async with running(service, artifacts) as started:
        before = refused.get()
        version = build_version(artifacts, "bad", seed=1, publish=False)
        (version.layout.root / name).write_bytes(b"damaged")
        # publishing verifies, so this is what a disk that lost bytes afterwards looks like
        digest = hashlib.sha256(version.layout.manifest.read_bytes()).hexdigest()
        (artifacts / "CURRENT").write_text(f"bad {digest}\n")
        await until(lambda: refused.get() > before)
        assert current("a")._value.get() == 1
        assert await health(started.address) == "SERVING"
        build_version(artifacts, "good", seed=2)
        await until(lambda: current("good")._value.get() == 1)
        assert await health(started.address) == "SERVING"


async def test_vectors_on_the_wire_are_normalised(item: item_pb2_grpc.ItemServiceStub) -> None:
    vectors = wire.unpack((await item.Encode(RING)).vectors)
    assert abs(float((vectors**2).sum()) - 1.0) < 1e-6


async def test_an_answer_that_nobody_takes_is_one_line_without_a_traceback(
    tiny: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with running("item", tiny):
        for error in (grpc.aio.InternalError('Failed "execute_batch"'), RuntimeError("a bug")):
            try:
                raise error
            except Exception:
                logging.getLogger("grpc._cython.cygrpc").exception("raised by servicer method")
    lost, bug = (record for record in caplog.records if record.name == "grpc._cython.cygrpc")
    assert (lost.levelname, lost.getMessage(), lost.exc_info) == ("INFO", "the caller went before the answer", None)
    assert bug.levelname == "ERROR" and bug.exc_info
