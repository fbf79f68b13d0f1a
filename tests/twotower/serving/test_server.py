"""The server harness: statuses, deadlines, drain, health, and the client side of the same rules."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import socket
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.helpers.gate_cases import Gate
from tests.helpers.services import health, running, until
from tests.helpers.tiny_version import build_version
from twotower import errors
from twotower.pb import item_pb2, item_pb2_grpc
from twotower.serving import telemetry, wire
from twotower.serving.client import as_target, call, connect
from twotower.serving.telemetry import JsonFormatter
from twotower.serving.workers import Workers

SERVICE = "twotower.item.v1.ItemService"


RING = item_pb2.EncodeRequest(items=[item_pb2.Item(title="خاتم ذهب")])


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    made = Gate()
    made.install(monkeypatch)
    return made


@pytest.fixture
async def item(tiny: Path) -> AsyncIterator[item_pb2_grpc.ItemServiceStub]:
    async with running("item", tiny) as service, connect(service.address) as channel:
        yield item_pb2_grpc.ItemServiceStub(channel)


@pytest.mark.parametrize("prefix", ["", "ipv4:", "ipv4:127.0.0.1:1,", "dns:", "dns:///", "ipv4:///"])
async def test_a_target_of_any_scheme_is_taken(tiny: Path, prefix: str) -> None:
    async with (
        running("item", tiny) as service,
        connect(f"{prefix}{service.address}") as channel,
    ):
        answer = await call(item_pb2_grpc.ItemServiceStub(channel).Encode, RING, 30, "item")
        assert len(answer.items) == 1


@pytest.mark.parametrize(
    ("address", "target"),
    [
        ("item:50051", "dns:///item:50051"),
        ("[::1]:50051", "dns:///[::1]:50051"),
        # a host of that name
        ("dns:50051", "dns:///dns:50051"),
        ("dns:item:50051", "dns:item:50051"),
        ("dns://8.8.8.8/item:50051", "dns://8.8.8.8/item:50051"),
        ("ipv4:10.0.0.1:1,10.0.0.2:1", "ipv4:10.0.0.1:1,10.0.0.2:1"),
        ("ipv6:[::1]:1", "ipv6:[::1]:1"),
        ("unix:/run/item", "unix:/run/item"),
        ("unix-abstract:item", "unix-abstract:item"),
        ("vsock:3:50051", "vsock:3:50051"),
        ("xds:///item", "xds:///item"),
    ],
)
def test_only_what_is_no_target_already_becomes_a_name_to_resolve(address: str, target: str) -> None:
    assert as_target(address) == target


async def inside(gate: Gate) -> None:
    await until(gate.inside.is_set)


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (errors.InvalidInput("title", "خ\n", "is odd"), grpc.StatusCode.INVALID_ARGUMENT),
        (errors.NotFound("لا شيء هنا", field="product_id"), grpc.StatusCode.NOT_FOUND),
        (errors.VersionNotHeld("z", ["b", "a"]), grpc.StatusCode.FAILED_PRECONDITION),
        (errors.Overloaded("too much"), grpc.StatusCode.RESOURCE_EXHAUSTED),
        (errors.DeadlineExceeded("too late"), grpc.StatusCode.DEADLINE_EXCEEDED),
        (errors.CorruptArtifact("a file is bad"), grpc.StatusCode.INTERNAL),
        (ZeroDivisionError("a secret of the inside"), grpc.StatusCode.INTERNAL),
    ],
)
async def test_every_error_has_its_status_and_comes_back_as_itself(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, failure: Exception, status: grpc.StatusCode
) -> None:
    gate = Gate(failure)
    gate.open.set()
    gate.install(monkeypatch)
    async with running("item", tiny) as service, connect(service.address) as channel:
        stub = item_pb2_grpc.ItemServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as raw:
            await stub.Encode(RING)
        assert raw.value.code() is status
        assert "secret" not in str(raw.value.details())
        kind = errors.Unavailable if status is grpc.StatusCode.INTERNAL else type(failure)
        with pytest.raises(kind) as caught:
            await call(stub.Encode, RING, 10, "item service")
        if kind in (errors.InvalidInput, errors.NotFound, errors.VersionNotHeld):
            assert str(caught.value) == str(failure)
            assert isinstance(failure, errors.TwoTowerError)
            assert caught.value.detail() == failure.detail()


async def test_an_unavailable_service_is_asked_again_and_a_lasting_one_is_said_so(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(errors.Unavailable("not now"))
    gate.open.set()
    gate.install(monkeypatch)
    async with running("item", tiny) as service, connect(service.address) as channel:
        with pytest.raises(errors.Unavailable, match="not now"):
            await call(item_pb2_grpc.ItemServiceStub(channel).Encode, RING, 10, "item service")
    assert gate.calls == 3


async def test_no_other_error_is_retried(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(errors.Overloaded("too much"))
    gate.open.set()
    gate.install(monkeypatch)
    async with running("item", tiny) as service, connect(service.address) as channel:
        with pytest.raises(errors.Overloaded):
            await call(item_pb2_grpc.ItemServiceStub(channel).Encode, RING, 10, "item service")
    assert gate.calls == 1


async def test_a_version_name_of_any_length_is_refused_with_those_held(item: item_pb2_grpc.ItemServiceStub) -> None:
    request = item_pb2.EncodeRequest(items=RING.items, model_version="ن" * 20_000)
    with pytest.raises(errors.VersionNotHeld) as caught:
        await call(item.Encode, request, 10, "item service")
    assert caught.value.held == ["tiny-a"]


async def test_nobody_listening_is_unavailable() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        async with connect(address) as channel:
            with pytest.raises(errors.Unavailable, match="item service cannot be reached"):
                await call(item_pb2_grpc.ItemServiceStub(channel).Encode, RING, 10, "item service")


async def test_no_time_left_is_said_without_a_call() -> None:
    def never(*arguments: Any, **more: Any) -> Any:
        pytest.fail("must not be called")

    for timeout in (0.0, -1.0):
        with pytest.raises(errors.DeadlineExceeded, match="no time is left to ask item service"):
            await call(never, RING, timeout, "item service")


async def test_a_call_that_takes_too_long_is_given_up_at_its_deadline(tiny: Path, gate: Gate) -> None:
    async with running("item", tiny) as service, connect(service.address) as channel:
        with pytest.raises(errors.DeadlineExceeded, match="item service did not answer in time"):
            await call(item_pb2_grpc.ItemServiceStub(channel).Encode, RING, 0.3, "item service")
        gate.open.set()


async def test_a_call_whose_time_ran_out_while_it_waited_is_not_worked_on(tiny: Path, gate: Gate) -> None:
    async with running("item", tiny, threads=1) as service, connect(service.address) as channel:
        stub = item_pb2_grpc.ItemServiceStub(channel)
        first = asyncio.ensure_future(stub.Encode(RING, timeout=60))
        await inside(gate)
        with pytest.raises(errors.DeadlineExceeded):
            await call(stub.Encode, RING, 0.2, "item service")
        gate.open.set()
        await first
        await stub.Encode(RING, timeout=60)
        assert gate.calls == 2  # the first and the last


async def test_more_calls_than_may_wait_are_refused(tiny: Path, gate: Gate) -> None:
    async with running("item", tiny, threads=1, queue=1) as service, connect(service.address) as channel:
        stub = item_pb2_grpc.ItemServiceStub(channel)
        first = asyncio.ensure_future(stub.Encode(RING))
        await inside(gate)
        rest = [asyncio.ensure_future(stub.Encode(RING)) for _ in range(5)]
        done, waiting = await asyncio.wait(rest, timeout=30, return_when=asyncio.FIRST_COMPLETED)
        while len(done) < 4:
            more, waiting = await asyncio.wait(waiting, timeout=30, return_when=asyncio.FIRST_COMPLETED)
            assert more
            done |= more
        for refused in done:
            error = refused.exception()
            assert isinstance(error, grpc.aio.AioRpcError)
            assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert error.details() == "2 calls are waiting, the limit is 2"
        gate.open.set()
        await asyncio.gather(first, *waiting)


async def test_the_event_loop_is_free_while_a_worker_is_busy(tiny: Path, gate: Gate) -> None:
    async with running("item", tiny, threads=1) as service, connect(service.address) as channel:
        busy = asyncio.ensure_future(item_pb2_grpc.ItemServiceStub(channel).Encode(RING))
        await inside(gate)
        assert await health(service.address) == "SERVING"
        gate.open.set()
        await busy


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


async def test_health_is_serving_only_while_a_version_is_loaded(tmp_path: Path) -> None:
    artifacts = tmp_path / "artifacts"
    async with running("item", artifacts, ready=False) as service, connect(service.address) as channel:
        for name in ("", SERVICE):
            assert await health(service.address, name) == "NOT_SERVING"
        assert await health(service.address, "nothing.of.the.kind") == "NOT_FOUND"
        with pytest.raises(errors.Unavailable, match="no model version is loaded yet"):
            await call(item_pb2_grpc.ItemServiceStub(channel).Encode, RING, 10, "item service")
        build_version(artifacts, "a")
        for name in ("", SERVICE):
            await until(lambda name=name: health(service.address, name), lambda answer: answer == "SERVING")
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


async def test_work_in_a_thread_sees_the_request_id() -> None:
    workers = Workers(1, 1)
    telemetry.request_id.set("ask-2")
    assert await workers.run(telemetry.request_id.get) == "ask-2"
    telemetry.request_id.set("")
    workers.close()


async def test_a_call_given_up_keeps_its_place_until_its_work_ends() -> None:
    workers, gate = Workers(1, 1), threading.Event()
    first = asyncio.ensure_future(workers.run(gate.wait, 60))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    second = asyncio.ensure_future(workers.run(int))
    await asyncio.sleep(0)
    with pytest.raises(errors.Overloaded):
        await workers.run(int)
    gate.set()
    assert await second == 0
    assert await workers.run(int) == 0
    workers.close()


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


async def test_small_work_goes_to_workers_for_a_second_after_calls_had_to_wait_for_each_other() -> None:
    now = 100.0
    workers, here = Workers(2, 4, clock=lambda: now), threading.get_ident()
    try:
        assert await workers.run_small(threading.get_ident) == here
        now += 0.001  # nobody waited
        assert await workers.run_small(threading.get_ident) == here
        now += 0.0001  # this one has come while the last was running
        assert await workers.run_small(threading.get_ident) != here
        now += 0.9
        assert await workers.run_small(threading.get_ident) != here
        now += 0.2
        assert await workers.run_small(threading.get_ident) == here
    finally:
        workers.close()


async def test_small_work_is_done_at_once_and_never_overtakes_what_waits() -> None:
    workers, open_gate = Workers(1, 4), threading.Event()
    done: list[str] = []
    try:
        assert await workers.run_small(threading.get_ident) == threading.get_ident()
        first = asyncio.create_task(workers.run(open_gate.wait, 60))
        await until(lambda: workers._waiting == 1)
        small = asyncio.create_task(workers.run_small(done.append, "small"))
        await asyncio.sleep(0)
        assert not done
        open_gate.set()
        await asyncio.gather(first, small)
        assert done == ["small"]
    finally:
        open_gate.set()
        workers.close()
