"""Requests that are no message, and work whose caller has gone."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path

import grpc
import pytest

from tests.helpers.services import running
from twotower.caller import Caller, caller, check_caller
from twotower.errors import DeadlineExceeded
from twotower.serving.client import connect
from twotower.serving.workers import Workers

# a tag without its length, a length beyond the end, text that is no UTF-8
NO_MESSAGE = [b"\x0a", b"\x0a\x7f", b"\x0a\x02\xff\xfe"]
METHODS = [
    "/twotower.item.v1.ItemService/Encode",
    "/twotower.item.v1.ItemService/EncodeStream",
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
]


async def test_bytes_that_are_no_message_are_refused_without_a_traceback(
    tiny: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with running("item", tiny) as service, connect(service.address) as channel:
        for method in METHODS:
            for data in NO_MESSAGE:
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await channel.stream_stream(method)(iter([data]), timeout=30).read()
                assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT, method
                assert refused.value.details() == "the request is not a valid message of this method"
    assert "Traceback" not in caplog.text and "DecodeError" not in caplog.text


async def test_work_without_a_caller_runs_and_with_one_ends_at_the_deadline() -> None:
    # a coroutine, because what it sets must not be left to the tests after it
    check_caller()
    caller.set(Caller(time.monotonic() + 60))
    check_caller()
    caller.set(Caller(time.monotonic() - 1))
    with pytest.raises(DeadlineExceeded, match="the deadline passed"):
        check_caller()


async def test_a_worker_is_free_again_when_its_caller_leaves() -> None:
    workers, began, steps = Workers(1, 10), asyncio.Event(), list[int]()
    loop = asyncio.get_running_loop()

    def long_work() -> None:
        loop.call_soon_threadsafe(began.set)
        # a thousand seconds of work for somebody who waits
        for step in range(100_000):
            check_caller()
            steps.append(step)
            time.sleep(0.01)

    caller.set(Caller())
    task = asyncio.create_task(workers.run(long_work))
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    caller.set(Caller())
    # the only thread does this next
    assert await asyncio.wait_for(workers.run(lambda: "free"), 60) == "free"
    assert len(steps) < 100_000
