"""Calls of a service: targets, retries, deadlines."""

from __future__ import annotations

import asyncio
import socket
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from item_service.servicer import ItemServicer
from tests.helpers.gate_cases import RING, Gate
from tests.helpers.redis_server import free_port
from tests.helpers.services import running, until
from twotower import errors
from twotower.pb import item_pb2_grpc
from twotower.serving.client import as_target, call, connect


@pytest.mark.parametrize("prefix", ["", "ipv4:", "ipv4:127.0.0.1:1,", "dns:", "dns:///", "ipv4:///"])
async def test_a_target_of_any_scheme_is_reached(tiny: Path, prefix: str) -> None:
    async with (
        running("item", tiny) as service,
        connect(f"{prefix}{service.address}") as channel,
    ):
        answer = await call(item_pb2_grpc.ItemServiceStub(channel).Encode, RING, 30, "item")
        assert len(answer.items) == 1


async def test_a_proxy_of_the_environment_is_not_asked(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running("item", tiny) as service:
        for name in ("http_proxy", "https_proxy", "grpc_proxy"):
            monkeypatch.setenv(name, "http://127.0.0.1:9")
        async with connect(service.address) as channel:
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
def test_only_an_address_that_is_no_target_becomes_a_name_to_resolve(address: str, target: str) -> None:
    assert as_target(address) == target


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


async def test_stopping_one_of_two_replicas_loses_no_call(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four stops, one replica after the other, while calls are always on their way."""
    asked, encode = set[ItemServicer](), ItemServicer.encode

    async def note(self: ItemServicer, request: Any) -> Any:
        asked.add(self)
        return await encode(self, request)

    monkeypatch.setattr(ItemServicer, "encode", note)
    ports, stopping = [free_port(), free_port()], False

    async def keep_asking(stub: item_pb2_grpc.ItemServiceStub) -> None:
        while not stopping:
            assert len((await call(stub.Encode, RING, 30, "item")).items) == 1

    async with AsyncExitStack() as exits:
        replicas = [await exits.enter_async_context(AsyncExitStack()) for _ in ports]
        for replica, port in zip(replicas, ports, strict=True):
            await replica.enter_async_context(running("item", tiny, port=port))
        channel = await exits.enter_async_context(connect(f"ipv4:{','.join(f'127.0.0.1:{one}' for one in ports)}"))
        stub = item_pb2_grpc.ItemServiceStub(channel)
        async with asyncio.TaskGroup() as callers:
            for _ in range(16):
                callers.create_task(keep_asking(stub))
            for turn in range(4):
                asked.clear()
                await until(lambda: len(asked) == 2)
                await replicas[turn % 2].aclose()
                await replicas[turn % 2].enter_async_context(running("item", tiny, port=ports[turn % 2]))
            stopping = True


async def test_no_other_error_is_retried(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(errors.Overloaded("too much"))
    gate.open.set()
    gate.install(monkeypatch)
    async with running("item", tiny) as service, connect(service.address) as channel:
        with pytest.raises(errors.Overloaded):
            await call(item_pb2_grpc.ItemServiceStub(channel).Encode, RING, 10, "item service")
    assert gate.calls == 1


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
