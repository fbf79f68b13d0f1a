"""What surrounds every call: request id, deadline, trace, timing, and the translation of errors to statuses."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from twotower.caller import Caller, caller
from twotower.errors import TwoTowerError
from twotower.serving import telemetry, tracing
from twotower.serving.decoding import UNDECODABLE, refuse
from twotower.serving.status import DETAIL_KEY, REQUEST_ID_KEY, STATUS, pack_detail

log = logging.getLogger(__name__)


class RpcMethod:
    """A gRPC method: `handler` answers a request under its caller's id, deadline and trace; errors become statuses.

    A servicer registers `unary` for a call by itself and `stream` for a stream that is answered message by message.
    An interceptor could do the same, but gRPC builds an interceptor's handlers anew for every call.
    """

    def __init__(self, name: str, handler: Callable[[Any], Awaitable[Any]]) -> None:
        self._name = name
        self._handler = handler
        self._seconds_of_good = telemetry.CALL_SECONDS.labels(name, grpc.StatusCode.OK.name)

    async def unary(self, request: Any, context: Any) -> Any:
        """The answer to one call; request id, deadline and trace come with its metadata."""
        metadata = dict(context.invocation_metadata() or ())
        request_id, traceparent = str(metadata.get(REQUEST_ID_KEY, "")), str(metadata.get(tracing.TRACEPARENT, ""))
        return await self._answer(request, context, request_id, traceparent, context.time_remaining())

    async def stream(self, requests: object, context: Any) -> None:
        """Answers the messages of a stream in order; request id, deadline and trace are in each message's `caller`."""
        while (request := await context.read()) is not grpc.aio.EOF:
            if request is UNDECODABLE:
                await refuse(context)
            by = request.caller
            remaining = by.timeout_ms / 1000 if by.timeout_ms else None
            await context.write(await self._answer(request, context, by.request_id, by.traceparent, remaining))

    async def _answer(
        self, request: Any, context: Any, request_id: str, traceparent: str, remaining: float | None
    ) -> Any:
        telemetry.request_id.set(request_id or telemetry.new_request_id())
        span = tracing.begin_call(self._name, traceparent)
        caller.set(Caller(math.inf if remaining is None else time.monotonic() + remaining))
        started, status = time.perf_counter(), grpc.StatusCode.OK
        if log.isEnabledFor(logging.DEBUG):
            log.debug("call received", extra={"method": self._name})
        try:
            return await self._handler(request)
        except TwoTowerError as error:
            status = STATUS.get(type(error), grpc.StatusCode.INTERNAL)
            if status is grpc.StatusCode.INTERNAL:
                log.error("call failed: %s", error, extra={"method": self._name})
            context.set_trailing_metadata(((DETAIL_KEY, pack_detail(error)),))
            await context.abort(status, str(error))
        except asyncio.CancelledError:
            status = grpc.StatusCode.CANCELLED
            raise
        except Exception:
            status = grpc.StatusCode.INTERNAL
            log.exception("call failed", extra={"method": self._name})
            await context.abort(status, f"internal error; request id {telemetry.request_id.get()}")
        finally:
            self._record(status, time.perf_counter() - started)
            if span is not None:
                tracing.end_call(span, status.name)

    def _record(self, status: grpc.StatusCode, seconds: float) -> None:
        good = status is grpc.StatusCode.OK
        timer = self._seconds_of_good if good else telemetry.CALL_SECONDS.labels(self._name, status.name)
        timer.observe(seconds)
        level = logging.DEBUG if good else logging.INFO
        if log.isEnabledFor(level):
            extra = {"method": self._name, "status": status.name, "ms": round(seconds * 1000, 3)}
            log.log(level, "call answered", extra=extra)
