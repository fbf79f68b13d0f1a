"""The health of the gateway's dependencies, and what does not work without each."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from twotower.errors import Unavailable

log = logging.getLogger(__name__)

CHECK_SECONDS = 0.5
_REASONS = {
    grpc.StatusCode.UNAVAILABLE: "it cannot be reached",
    grpc.StatusCode.DEADLINE_EXCEEDED: "no answer in time",
}


class Dependency(NamedTuple):
    """One dependency. `ask` raises Unavailable if it is down; `loss` says what does not work without it."""

    name: str
    ask: Callable[[], Awaitable[None]]
    loss: str
    vital: bool = False


class Readiness(NamedTuple):
    """Ready if every vital dependency answers. `dependencies` maps each name to "ok" or to the reason why not."""

    ready: bool
    dependencies: dict[str, str]
    degraded: list[str]


async def check(dependencies: list[Dependency]) -> Readiness:
    """Asks all dependencies at the same time and gives up on each after one second."""
    states = await asyncio.gather(*(_state(dependency) for dependency in dependencies))
    down = [dependency for dependency, state in zip(dependencies, states, strict=True) if state != "ok"]
    return Readiness(
        ready=not any(dependency.vital for dependency in down),
        dependencies={dependency.name: state for dependency, state in zip(dependencies, states, strict=True)},
        degraded=[f"{dependency.name}: {dependency.loss}" for dependency in down],
    )


def grpc_health(channel: Any, service: str) -> Callable[[], Awaitable[None]]:
    """Returns a function that asks for a service's health and raises Unavailable if that is not SERVING."""
    stub = health_pb2_grpc.HealthStub(channel)

    async def ask() -> None:
        try:
            answer = await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=CHECK_SECONDS)
        except grpc.aio.AioRpcError as error:
            # gRPC's message names internal addresses, which belong in the log and not in an answer
            log.info("%s is not healthy: %s %.300s", service, error.code().name, error.details())
            raise Unavailable(_REASONS.get(error.code(), "its health check failed")) from None
        if answer.status != health_pb2.HealthCheckResponse.SERVING:
            raise Unavailable("it is about to end")

    return ask


def retrieval_dependencies(channels: Sequence[Any], *, degrades: bool) -> list[Dependency]:
    """The retrieval service, by one channel for each shard; with `degrades` one healthy shard is enough."""
    asks = [grpc_health(channel, "twotower.retrieval.v1.RetrievalService") for channel in channels]
    if len(asks) == 1:
        return [Dependency("retrieval", asks[0], "no products", vital=True)]
    loss = "lists without the products of this shard" if degrades else "no products"
    shards = [Dependency(f"retrieval shard {number}", ask, loss, vital=not degrades) for number, ask in enumerate(asks)]
    return (
        [Dependency("retrieval", partial(_ask_any, asks), "no products", vital=True), *shards] if degrades else shards
    )


async def _ask_any(asks: Sequence[Callable[[], Awaitable[None]]]) -> None:
    """Raises Unavailable if every one of them does."""
    failures = await asyncio.gather(*(ask() for ask in asks), return_exceptions=True)
    if None not in failures:
        raise Unavailable(str(failures[0]))


async def _state(dependency: Dependency) -> str:
    try:
        await asyncio.wait_for(dependency.ask(), 2 * CHECK_SECONDS)
    except Unavailable as error:
        return str(error)
    except TimeoutError:
        return "no answer in time"
    return "ok"
