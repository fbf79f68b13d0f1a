"""Calls as messages of kept streams: the same answers and errors as alone, on streams that come and go."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from gateway.clients.hedging import Hedging
from gateway.clients.streams import StreamedCalls
from item_service.encoder import EncodedItems, Item, ItemEncoder
from tests.helpers.gate_cases import Gate
from tests.helpers.redis_server import free_port
from tests.helpers.services import running, until
from twotower import errors
from twotower.caller import Caller
from twotower.pb import item_pb2, item_pb2_grpc
from twotower.serving import telemetry
from twotower.serving.client import connect

NAME = "item service"


def ring(version: str = "") -> item_pb2.EncodeRequest:
    return item_pb2.EncodeRequest(items=[item_pb2.Item(title="خاتم ذهب")], model_version=version)


class Counted:
    """A method of a stub, and every call of it."""

    def __init__(self, method: Callable[..., Any]) -> None:
        self._method = method
        self.calls: list[Any] = []

    def __call__(self, *arguments: Any, **more: Any) -> Any:
        self.calls.append(self._method(*arguments, **more))
        return self.calls[-1]


class Client:
    """Streamed calls of an item service, and what they did on the wire."""

    def __init__(self, channel: grpc.aio.Channel, hedge_after: float = 60.0, **settings: Any) -> None:
        self.stub = item_pb2_grpc.ItemServiceStub(channel)
        self.streams, self.alone = Counted(self.stub.EncodeStream), Counted(self.stub.Encode)
        self.hedging = Hedging(NAME, hedge_after)
        self.streamed = StreamedCalls(self.streams, self.alone, NAME, self.hedging, **settings)

    async def call(self, request: item_pb2.EncodeRequest | None = None, timeout: float = 30) -> Any:
        return await self.streamed.call(request or ring(), timeout)


@asynccontextmanager
async def client(address: str, **settings: Any) -> AsyncIterator[Client]:
    async with connect(address) as channel:
        made = Client(channel, **settings)
        try:
            yield made
        finally:
            made.streamed.close()


async def test_streams_answer_as_calls_alone_do_and_take_turns(tiny: Path) -> None:
    async with running("item", tiny) as service, client(service.address, keep=2) as one:
        expected = await one.stub.Encode(ring())
        for _ in range(6):
            assert await one.call() == expected
        assert len(one.streams.calls) == 2
        assert not one.alone.calls


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (errors.InvalidInput("title", "خ\n", "is odd"), errors.InvalidInput),
        (errors.NotFound("لا شيء هنا", field="product_id"), errors.NotFound),
        (errors.VersionNotHeld("z", ["b", "a"]), errors.VersionNotHeld),
        (errors.Overloaded("too much"), errors.Overloaded),
        (errors.Unavailable("not now"), errors.Unavailable),
        (errors.CorruptArtifact("a file is bad"), errors.Unavailable),
        (ZeroDivisionError("a secret of the inside"), errors.Unavailable),
    ],
)
async def test_an_error_comes_back_as_itself_and_the_next_call_is_answered(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, failure: Exception, kind: type[errors.TwoTowerError]
) -> None:
    gate = Gate()
    gate.open.set()
    gate.install(monkeypatch)
    async with running("item", tiny) as service, client(service.address, keep=1) as one:
        await one.call()
        gate.failure = failure
        with pytest.raises(kind) as caught:
            await one.call()
        assert "secret" not in str(caught.value)
        if isinstance(failure, errors.InvalidInput | errors.NotFound | errors.VersionNotHeld):
            assert str(caught.value) == str(failure)
            assert caught.value.detail() == failure.detail()
        gate.failure = None
        assert len((await one.call()).items) == 1


async def test_an_error_that_may_pass_is_tried_again_on_a_new_stream_too(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(errors.Unavailable("not now"))
    gate.open.set()
    gate.install(monkeypatch)
    async with running("item", tiny) as service, client(service.address) as one:
        with pytest.raises(errors.Unavailable, match="not now"):
            await one.call()
    assert gate.calls == 3


async def test_the_request_id_travels_with_each_message(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    encode = ItemEncoder.encode

    def note(self: ItemEncoder, items: list[Item]) -> EncodedItems:
        seen.append(telemetry.request_id.get())
        return encode(self, items)

    async with running("item", tiny) as service, client(service.address, keep=1) as one:
        monkeypatch.setattr(ItemEncoder, "encode", note)
        try:
            for name in ("ask-1", "ask-2", ""):
                telemetry.request_id.set(name)
                await one.call()
        finally:
            telemetry.request_id.set("")
        assert len(one.streams.calls) == 1
    assert seen[:2] == ["ask-1", "ask-2"]
    assert len(seen[2]) == 32


async def test_a_call_that_takes_too_long_is_given_up_alone(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, callers = Gate(), list[Caller]()
    gate.install(monkeypatch)
    start = Caller.__init__

    def note(self: Caller, deadline: float = math.inf) -> None:
        start(self, deadline)
        callers.append(self)

    monkeypatch.setattr(Caller, "__init__", note)
    async with running("item", tiny, threads=1) as service, client(service.address) as one:
        patient = asyncio.ensure_future(one.call(timeout=60))
        await until(gate.inside.is_set)
        with pytest.raises(errors.DeadlineExceeded, match="item service did not answer in time"):
            await one.call(timeout=1)
        # the service counts the second from when it has the message
        await until(lambda: callers[-1].has_left or callers[-1].deadline < time.monotonic())
        gate.open.set()
        assert len((await patient).items) == 1
        await one.call()
        # what waited past its time was not worked on
        assert gate.calls == 2
        assert [stream.cancelled() for stream in one.streams.calls] == [False, True, False]


async def test_no_time_left_is_said_without_a_call() -> None:
    def never() -> Any:
        pytest.fail("must not be called")

    with pytest.raises(errors.DeadlineExceeded, match="no time is left to ask item service"):
        await StreamedCalls(never, never, NAME, Hedging(NAME, 1.0)).call(ring(), 0.0)


async def test_a_call_that_is_cancelled_ends_its_stream_and_no_other(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate()
    gate.install(monkeypatch)
    async with running("item", tiny, threads=2) as service, client(service.address) as one:
        patient, hasty = (asyncio.ensure_future(one.call()) for _ in range(2))
        await until(lambda: gate.calls == 2)
        hasty.cancel()
        with pytest.raises(asyncio.CancelledError):
            await hasty
        gate.open.set()
        await patient
        assert sorted(stream.cancelled() for stream in one.streams.calls) == [False, True]


async def test_streams_past_those_kept_end_with_their_call(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate()
    gate.install(monkeypatch)
    async with running("item", tiny, threads=4) as service, client(service.address, keep=2) as one:
        calls = [asyncio.ensure_future(one.call()) for _ in range(4)]
        await until(lambda: gate.calls == 4)
        gate.open.set()
        assert [len(answer.items) for answer in await asyncio.gather(*calls)] == [1, 1, 1, 1]
        assert [stream.done() for stream in one.streams.calls].count(False) == 2
        await one.call()
        assert len(one.streams.calls) == 4


async def test_streams_that_ended_with_their_service_are_left(tiny: Path) -> None:
    port = free_port()
    async with client(f"127.0.0.1:{port}", seconds=600) as one:
        async with running("item", tiny, port=port, drain_seconds=0.0):
            expected = await one.call()
            await one.call()
        await until(lambda: all(stream.done() for stream in one.streams.calls))
        async with running("item", tiny, port=port, drain_seconds=0.0):
            await until(lambda: _answers(one.stub))
            for _ in range(6):
                assert await one.call() == expected
        assert len(one.streams.calls) == 6


async def _answers(stub: item_pb2_grpc.ItemServiceStub) -> bool:
    try:
        await stub.Encode(ring())
    except grpc.aio.AioRpcError:
        return False
    return True


async def test_a_stream_that_breaks_under_a_request_is_repeated_on_another_replica(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate()
    gate.open.set()
    gate.install(monkeypatch)
    async with AsyncExitStack() as exits:
        first = await exits.enter_async_context(running("item", tiny, drain_seconds=0.0))
        one = await exits.enter_async_context(client(first.address, keep=1, seconds=600))
        await one.call()
        second = await exits.enter_async_context(running("item", tiny))
        async with connect(second.address) as channel:
            one.alone._method = item_pb2_grpc.ItemServiceStub(channel).Encode
            gate.inside.clear()
            gate.open.clear()
            flying = asyncio.ensure_future(one.call())
            await until(gate.inside.is_set)
            first.stop.set()
            await until(lambda: len(one.alone.calls) == 1)
            gate.open.set()
            assert len((await flying).items) == 1


async def test_a_service_that_drains_is_left_by_streams_at_rest(tiny: Path) -> None:
    async with running("item", tiny, drain_seconds=600.0) as service, client(service.address, seconds=0.3) as one:
        await asyncio.gather(*(one.call() for _ in range(3)))
        service.stop.set()
        await asyncio.wait_for(asyncio.shield(service.task), 60)
        assert all(stream.done() for stream in one.streams.calls)


async def test_a_stream_is_left_when_its_time_is_over_though_it_is_busy(tiny: Path) -> None:
    now = [100.0]
    settings: dict[str, Any] = {"keep": 1, "seconds": 5.0, "clock": lambda: now[0]}
    async with running("item", tiny) as service, client(service.address, **settings) as one:
        for passed, opened in ((0.0, 1), (4.9, 1), (0.2, 2), (4.9, 2), (0.2, 3)):
            now[0] += passed
            await one.call()
            assert len(one.streams.calls) == opened


async def test_replicas_share_the_messages(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[ItemEncoder] = []
    encode = ItemEncoder.encode

    def note(self: ItemEncoder, items: list[Item]) -> EncodedItems:
        asked.append(self)
        return encode(self, items)

    async with running("item", tiny) as first, running("item", tiny) as second:
        monkeypatch.setattr(ItemEncoder, "encode", note)
        async with client(f"ipv4:///{first.address},{second.address}", keep=4) as one:
            # until both are connected, one is asked alone
            await until(lambda: _asked(one.stub, asked), lambda replicas: replicas == 2)
            asked.clear()
            for _ in range(40):
                await one.call()
            assert len(one.streams.calls) == 4
    replicas = set(map(id, asked))
    assert sorted(sum(id(encoder) == one for encoder in asked) for one in replicas) == [20, 20]


async def _asked(stub: item_pb2_grpc.ItemServiceStub, asked: list[ItemEncoder]) -> int:
    await stub.Encode(ring())
    return len(set(map(id, asked)))


async def test_nobody_listening_is_unavailable() -> None:
    async with client(f"127.0.0.1:{free_port()}") as one:
        for _ in range(2):
            with pytest.raises(errors.Unavailable, match="item service cannot be reached"):
                await one.call()
