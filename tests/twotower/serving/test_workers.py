"""The worker pool: what waits, what is refused, and what runs on the event loop."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import grpc
import pytest

from tests.helpers.gate_cases import RING, Gate, inside
from tests.helpers.services import health, running, until
from twotower import errors
from twotower.pb import item_pb2_grpc
from twotower.serving import telemetry
from twotower.serving.client import call, connect
from twotower.serving.workers import Workers


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


async def test_the_metric_counts_the_calls_that_run_and_wait() -> None:
    workers, opened = Workers(1, 8), threading.Event()
    before = telemetry.WORK_WAITING.labels("calls")._value.get()
    calls = [asyncio.ensure_future(workers.run(opened.wait)) for _ in range(3)]
    await until(lambda: telemetry.WORK_WAITING.labels("calls")._value.get() - before == 3)
    opened.set()
    await asyncio.gather(*calls)
    assert telemetry.WORK_WAITING.labels("calls")._value.get() == before
    workers.close()


async def test_the_event_loop_is_free_while_a_worker_is_busy(tiny: Path, gate: Gate) -> None:
    async with running("item", tiny, threads=1) as service, connect(service.address) as channel:
        busy = asyncio.ensure_future(item_pb2_grpc.ItemServiceStub(channel).Encode(RING))
        await inside(gate)
        assert await health(service.address) == "SERVING"
        gate.open.set()
        await busy


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


async def test_small_work_goes_to_workers_for_a_second_after_calls_had_to_wait_for_each_other() -> None:
    now = 100.0
    workers, here = Workers(2, 4, clock=lambda: now), threading.get_ident()
    try:
        assert await workers.run_short(threading.get_ident) == here
        now += 0.001  # nobody waited
        assert await workers.run_short(threading.get_ident) == here
        now += 0.0001  # this one has come while the last was running
        assert await workers.run_short(threading.get_ident) != here
        now += 0.9
        assert await workers.run_short(threading.get_ident) != here
        now += 0.2
        assert await workers.run_short(threading.get_ident) == here
    finally:
        workers.close()


async def test_small_work_is_done_at_once_and_never_overtakes_what_waits() -> None:
    workers, open_gate = Workers(1, 4), threading.Event()
    done: list[str] = []
    try:
        assert await workers.run_short(threading.get_ident) == threading.get_ident()
        first = asyncio.create_task(workers.run(open_gate.wait, 60))
        await until(lambda: workers._waiting == 1)
        small = asyncio.create_task(workers.run_short(done.append, "small"))
        await asyncio.sleep(0)
        assert not done
        open_gate.set()
        await asyncio.gather(first, small)
        assert done == ["small"]
    finally:
        open_gate.set()
        workers.close()
