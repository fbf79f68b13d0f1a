"""Runs services inside the test's own event loop, and the checks that every service must pass."""

from __future__ import annotations

import asyncio
import importlib
import json
import signal
import time
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.helpers.processes import is_log, process


@dataclass
class Running:
    """A service of this process: where it listens, and how to stop it."""

    address: str
    stop: asyncio.Event
    task: asyncio.Task[None]


def cache_of(artifacts: Path) -> Path:
    """Where the services of a test keep their private copies."""
    return artifacts.with_name(f"{artifacts.name}-cache")


@asynccontextmanager
async def running(service: str, artifacts: Path, *, ready: bool = True, **settings: object) -> AsyncIterator[Running]:
    """Runs "item", "buyer" or "retrieval" in this event loop on a free port; drained and stopped at the end.

    `settings` are fields of the service's settings; the private copies lie beside the artifact folder. With `ready` it
    waits for a version to be loaded first.
    """
    kinds = importlib.import_module(f"{service}_service.settings")
    serve = importlib.import_module(f"{service}_service.servicer").serve
    model = getattr(kinds, f"{service.capitalize()}Settings")
    values = model(
        **{"artifacts": artifacts, "cache": cache_of(artifacts), "poll_seconds": 0.02, "drain_seconds": 5.0, **settings}
    )
    stop, port = asyncio.Event(), asyncio.get_running_loop().create_future()
    task = asyncio.create_task(serve(values, stop, port.set_result))
    await asyncio.wait((task, port), return_when=asyncio.FIRST_COMPLETED)
    if not port.done():
        await task
    address = f"127.0.0.1:{port.result()}"
    try:
        if ready:
            await serving(address)
        yield Running(address, stop, task)
    finally:
        stop.set()
        await task


async def health(address: str, name: str = "") -> str:
    """What grpc.health.v1 says: "SERVING", "NOT_SERVING", or the status code of a call that failed."""
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    async with grpc.aio.insecure_channel(address) as channel:
        try:
            answer = await health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(service=name), timeout=10
            )
        except grpc.aio.AioRpcError as error:
            return str(error.code().name)
        return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


async def serving(address: str, seconds: float = 60.0) -> None:
    """Waits until the service at `address` is healthy."""
    await until(lambda: health(address), lambda answer: answer == "SERVING", seconds)


async def until(ask: Callable[[], Any], good: Callable[[Any], bool] = bool, seconds: float = 30.0) -> Any:
    """Asks (a function or a coroutine function) until the answer is good, and returns that answer.

    Raises AssertionError with the last answer if that takes longer than `seconds`.
    """
    end = time.monotonic() + seconds
    while True:
        answer = ask()
        if asyncio.iscoroutine(answer):
            answer = await answer
        if good(answer):
            return answer
        assert time.monotonic() < end, f"waited {seconds} s, the last answer was {answer!r}"
        await asyncio.sleep(0.01)


async def check_process(service: str, artifacts: Path, full_name: str, stub: Any, method: str, request: Any) -> None:
    """Runs a service as a process: health, reflection, metrics, logs, and SIGTERM with `request` in flight."""
    import grpc

    environ = {
        "TWOTOWER_ARTIFACTS": str(artifacts),
        "TWOTOWER_CACHE": str(cache_of(artifacts)),
        "TWOTOWER_LOG_LEVEL": "DEBUG",
        f"TWOTOWER_{service.upper()}_DRAIN_SECONDS": "60",
    }
    with process("-m", f"{service}_service", environ=environ) as started:
        ports = json.loads(started.wait_for(lambda line: is_log(line, "listening")))
        address = f"127.0.0.1:{ports['port']}"
        await serving(address)
        assert await health(address, full_name) == "SERVING"
        check_reflection(address, full_name, method)
        metrics = await asyncio.to_thread(read_url, f"http://127.0.0.1:{ports['metrics_port']}/metrics")
        assert 'twotower_model_info{version="tiny-a"} 1.0' in metrics
        assert 'twotower_version_loads_total{result="loaded"} 1.0' in metrics
        async with grpc.aio.insecure_channel(address) as channel:
            call = getattr(stub(channel), method)(request, metadata=(("x-request-id", "ask-7"),), timeout=60)
            flying = asyncio.ensure_future(wait_for_call(call))
            received = await asyncio.to_thread(started.wait_for, lambda line: is_log(line, "call received"))
            started.popen.send_signal(signal.SIGTERM)
            await asyncio.to_thread(started.wait_for, lambda line: is_log(line, "draining"))
            assert (await flying).ByteSize() > 0
        assert await asyncio.to_thread(started.finish) == 0
    lines = [json.loads(line) for line in started.lines]
    assert {line["service"] for line in lines} == {service}
    assert json.loads(received)["request_id"] == "ask-7"
    answered = [line for line in lines if line["message"] == "call answered"]
    assert [(line["request_id"], line["method"], line["status"]) for line in answered] == [("ask-7", method, "OK")]
    # gRPC itself may have a last word at DEBUG, about the call that was answered above
    assert [line["message"] for line in lines if line["logger"].startswith("twotower")][-1] == "stopped"


def check_reflection(address: str, full_name: str, method: str) -> None:
    """Asks a server that runs elsewhere for its services, as grpcurl does."""
    import grpc
    from google.protobuf.descriptor_pool import DescriptorPool
    from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

    with grpc.insecure_channel(address) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        assert {full_name, "grpc.health.v1.Health"} <= set(database.get_services())
        assert method in DescriptorPool(database).FindServiceByName(full_name).methods_by_name


async def wait_for_call(call: Any) -> Any:
    return await call


def read_url(url: str) -> str:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return str(answer.read().decode())


def check_wrong_setting(service: str) -> None:
    """A misspelt setting ends a service's process at once with one line that names it."""
    wrong = f"TWOTOWER_{service.upper()}_PROT"
    with process("-m", f"{service}_service", environ={wrong: "1"}) as started:
        assert started.finish() == 2
    assert started.lines == [f"{service}_service: unknown setting {wrong}; did you mean {wrong[:-4]}PORT?"]
