"""What the gateway depends on, asked now: which of it answers, and what its absence takes away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from twotower.errors import Unavailable

CHECK_SECONDS = 0.5


class Dependency(NamedTuple):
    """One thing to ask. `ask` raises Unavailable; `loss` says what does not work without it."""

    name: str
    ask: Callable[[], Awaitable[None]]
    loss: str
    vital: bool = False


class Readiness(NamedTuple):
    """`dependencies` maps a name to "ok" or the reason; ready while every vital one answers."""

    ready: bool
    dependencies: dict[str, str]
    degraded: list[str]


async def check(dependencies: list[Dependency]) -> Readiness:
    """Asks all of them at once, each for at most half a second."""
    states = await asyncio.gather(*(_state(one) for one in dependencies))
    down = [one for one, state in zip(dependencies, states, strict=True) if state != "ok"]
    return Readiness(
        ready=not any(one.vital for one in down),
        dependencies={one.name: state for one, state in zip(dependencies, states, strict=True)},
        degraded=[f"{one.name}: {one.loss}" for one in down],
    )


def grpc_health(channel: Any, service: str) -> Callable[[], Awaitable[None]]:
    """Asks a service's health; Unavailable where it is not SERVING or does not answer."""
    stub = health_pb2_grpc.HealthStub(channel)

    async def ask() -> None:
        try:
            answer = await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=CHECK_SECONDS)
        except grpc.aio.AioRpcError as error:
            raise Unavailable(f"{error.code().name}: {error.details()}") from None
        if answer.status != health_pb2.HealthCheckResponse.SERVING:
            raise Unavailable("it has loaded no model version yet")

    return ask


async def _state(one: Dependency) -> str:
    try:
        await asyncio.wait_for(one.ask(), 2 * CHECK_SECONDS)
    except Unavailable as error:
        return str(error)
    except TimeoutError:
        return "no answer in time"
    return "ok"
