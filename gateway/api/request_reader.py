"""Reads requests: the query or the body, within its limits, and the deadline."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

from starlette.requests import Request

from gateway.admission import EXPENSIVE, SMALL_BODY, Admission, BodyRoom
from gateway.clients.deadline import Deadline
from gateway.history.clock import SharedClock
from gateway.schemas import parsing
from gateway.schemas.fields import Context, Strict
from gateway.settings import GatewaySettings
from twotower.events import EventSchema

Parsed = TypeVar("Parsed")
Model = TypeVar("Model", bound=Strict)


@dataclass(frozen=True)
class Given:
    """A body that has arrived, and the deadline of the request."""

    body: bytes
    deadline: Deadline
    is_expensive: bool

    async def read(self, parse: Callable[[bytes], Parsed]) -> Parsed:
        """The parsed body. A large one is parsed in a thread, so that other requests go on meanwhile."""
        return await asyncio.to_thread(parse, self.body) if self.is_expensive else parse(self.body)


class RequestReader:
    """Checked requests and their deadlines. Raises the errors of `gateway.schemas.parsing`, and Overloaded."""

    def __init__(self, settings: GatewaySettings, admission: Admission, clock: SharedClock) -> None:
        self._settings = settings
        self._admission = admission
        self._clock = clock
        # only the names matter here; the weights are part of a model version
        self._events = EventSchema(dict.fromkeys(settings.event_types, 1.0))

    def context(self) -> Context:
        """What the fields of a request are checked against now."""
        return Context(self._events, self._settings.max_k, self._settings.max_interactions, self._clock.latest_ms())

    def deadline(self) -> Deadline:
        """The deadline of a request that begins now."""
        return Deadline.after(self._settings.request_timeout_seconds)

    def query(self, model: type[Model], request: Request) -> Model:
        """The checked query of a request."""
        query: bytes = request.scope["query_string"]
        if len(query) > self._settings.max_query_bytes:
            raise parsing.QueryTooLarge(self._settings.max_query_bytes)
        return parsing.read_query(model, query, self.context())

    def parse(self, model: type[Model], body: bytes) -> Model:
        """The checked content of a body in JSON."""
        return parsing.read_body(model, parsing.read_json(body), self.context())

    @asynccontextmanager
    async def body(
        self, request: Request, cost_of: Callable[[int], float], content_type: str = "application/json"
    ) -> AsyncIterator[Given]:
        """The whole body, when there is room for what it costs. Refuses before reading it if the head says enough."""
        parsing.check_content_type(request.headers.get("content-type", ""), content_type)
        is_gzip = parsing.is_gzip(request.headers.get("content-encoding", ""))
        limit, declared = self._settings.max_body_bytes, request.headers.get("content-length", "")
        size = int(declared[:20]) if declared.isdigit() else 0
        if size > limit:
            raise parsing.BodyTooLarge(size, limit)
        self._admission.check(cost_of(size))
        with self._admission.body() as room:
            room.need(size)
            try:
                # a drain waits for running requests, so a body that never ends must not keep one running
                async with asyncio.timeout(self._settings.body_timeout_seconds):
                    body = await _read(request, limit, room)
            except TimeoutError:
                raise parsing.BodyTooSlow(self._settings.body_timeout_seconds) from None
            if is_gzip:
                body = parsing.unpack_gzip(body, limit)
                room.need(len(body))
            cost, deadline = cost_of(len(body)), self.deadline()
            async with self._admission.admitted(cost, deadline):
                yield Given(body, deadline, is_expensive=cost > EXPENSIVE)


async def _read(request: Request, limit: int, room: BodyRoom) -> bytes:
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise parsing.BodyTooLarge(size, limit)
        if size > SMALL_BODY:
            # one without a declared length may become as long as any
            room.need(limit if "content-length" not in request.headers else size)
        parts.append(part)
    return b"".join(parts)
