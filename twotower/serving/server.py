"""Runs one gRPC service: health, reflection, metrics, version polling, and draining."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from twotower.serving import telemetry
from twotower.serving.model_versions import Versions
from twotower.serving.settings import ServiceSettings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class GrpcService:
    """A gRPC service as a server registers it: `name` in our messages, `full_name` in gRPC's."""

    name: str
    full_name: str
    servicer: object
    add_to_server: Callable[[Any, grpc.aio.Server], None]


async def serve(
    service: GrpcService,
    settings: ServiceSettings,
    versions: Versions[Any],
    stop: asyncio.Event | None = None,
    on_ready: Callable[[int], None] = lambda port: None,
) -> None:
    """Runs one gRPC service until SIGTERM, SIGINT or `stop`, then drains.

    Health is SERVING only while a version is loaded. `on_ready` gets the port as soon as the server listens, which is
    before a version is loaded. Raises SystemExit with the port's number if the port is taken.
    """
    stop = stop or asyncio.Event()
    server, checks = grpc.aio.server(options=_server_options(settings)), health.aio.HealthServicer()
    service.add_to_server(service.servicer, server)
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    reflection.enable_server_reflection((service.full_name, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    await _set_health(checks, service.full_name, serving=False)
    port, metrics_port = _open_ports(server, service, settings)
    await server.start()
    log.info("listening", extra={"port": port, "metrics_port": metrics_port})
    on_ready(port)
    _stop_on_signals(stop)

    async def on_change() -> None:
        # reference counts still free a version that is dropped, and its catalogue closes its own connection
        telemetry.freeze_loaded_objects()
        await _set_health(checks, service.full_name, serving=versions.is_ready)

    follower = asyncio.create_task(versions.follow(settings.poll_seconds, on_change))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait((stopping, follower), return_when=asyncio.FIRST_COMPLETED)
    follower_failed = follower.done() and not follower.cancelled() and follower.exception()
    follower.cancel()
    stopping.cancel()
    log.info("draining", extra={"seconds": settings.drain_seconds})
    await _set_health(checks, service.full_name, serving=False)
    await server.stop(settings.drain_seconds)
    log.info("stopped")
    if follower_failed:
        raise follower_failed


def _open_ports(server: grpc.aio.Server, service: GrpcService, settings: ServiceSettings) -> tuple[int, int]:
    """The ports of gRPC and of the metrics. Raises SystemExit if one is taken."""
    try:
        port = server.add_insecure_port(f"{settings.host}:{settings.port}")
    except RuntimeError:
        port = 0
    if port == 0:
        raise SystemExit(f"{service.name}: cannot listen on {settings.host}:{settings.port}; is the port taken?")
    try:
        return port, telemetry.serve_metrics(settings.host, settings.metrics_port)
    except OSError as error:
        at = f"{settings.host}:{settings.metrics_port}"
        raise SystemExit(f"{service.name}: cannot serve metrics on {at}: {error.strerror}") from None


async def _set_health(checks: Any, full_name: str, *, serving: bool) -> None:
    states = health_pb2.HealthCheckResponse
    state = states.SERVING if serving else states.NOT_SERVING
    for name in ("", full_name):
        await checks.set(name, state)


def _server_options(settings: ServiceSettings) -> tuple[tuple[str, int], ...]:
    return (
        ("grpc.max_receive_message_length", settings.max_message_mb << 20),
        ("grpc.max_send_message_length", settings.max_message_mb << 20),
        ("grpc.max_connection_age_ms", int(settings.max_connection_age_seconds * 1000)),
        ("grpc.max_connection_age_grace_ms", int(settings.drain_seconds * 1000)),
        # two servers on one port would share its connections, and the other one would give half of the answers
        ("grpc.so_reuseport", 0),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    )


def _stop_on_signals(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        # only the main thread may handle signals; tests run servers in other threads and set `stop`
        try:
            loop.add_signal_handler(number, stop.set)
        except (RuntimeError, ValueError, NotImplementedError):
            return
