"""Runs one gRPC service: health, reflection, metrics, version polling, and draining."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from twotower.artifact.layout import Layout
from twotower.serving import telemetry, tracing
from twotower.serving.decoding import CheckedServer
from twotower.serving.model_versions import Versions
from twotower.serving.settings import ServiceSettings, host_port
from twotower.serving.tls import TlsFiles, server_credentials

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class GrpcService:
    """A gRPC service as a server registers it: `name` in our messages, `full_name` in gRPC's."""

    name: str
    full_name: str
    servicer: object
    add_to_server: Callable[[Any, Any], None]


async def serve(
    service: GrpcService,
    settings: ServiceSettings,
    versions: Versions[Any],
    stop: asyncio.Event | None = None,
    on_ready: Callable[[int], None] = lambda port: None,
) -> None:
    """Runs one gRPC service until SIGTERM, SIGINT or `stop`, then drains.

    It listens only once a version is loaded; `on_ready` then gets the port. Health is SERVING from then on until it
    drains. Raises SystemExit with the port's number if the port is in use.
    """
    stop = stop or asyncio.Event()
    reserved = _reserve_port(service, settings)
    metrics = _serve_metrics(service, settings)
    stop_tracing = tracing.start(service.name, settings)
    _stop_on_signals(stop)
    loaded = asyncio.Event()
    # a logger has each filter once, however often it is added
    logging.getLogger("grpc._cython.cygrpc").addFilter(_shorten_lost_answer)

    async def on_change() -> None:
        # reference counts still free a version that is dropped, and its catalogue closes its own connection
        telemetry.freeze_loaded_objects()
        loaded.set()

    follower = asyncio.create_task(versions.follow(settings.poll_seconds, on_change))
    stopping = asyncio.create_task(stop.wait())
    loading = asyncio.create_task(loaded.wait())
    log.info("loading", extra={"artifacts": str(settings.artifacts), "metrics_port": metrics.port})
    if not (current := Layout(settings.artifacts).current).exists():
        log.warning("no version is published yet, waiting for one", extra={"file": str(current.absolute())})
    try:
        await asyncio.wait((loading, stopping, follower), return_when=asyncio.FIRST_COMPLETED)
        if loading.done():
            server, checks, port = await _start(service, settings, reserved)
            log.info("listening", extra={"port": port, "metrics_port": metrics.port})
            on_ready(port)
            await asyncio.wait((stopping, follower), return_when=asyncio.FIRST_COMPLETED)
            log.info("draining", extra={"seconds": settings.drain_seconds})
            await _set_health(checks, service.full_name, serving=False)
            await server.stop(settings.drain_seconds)
    finally:
        failed = follower.done() and not follower.cancelled() and follower.exception()
        for task in (follower, stopping, loading):
            task.cancel()
        reserved.close()
        metrics.close()
        stop_tracing()
    log.info("stopped")
    if failed:
        raise failed


async def _start(
    service: GrpcService, settings: ServiceSettings, reserved: socket.socket
) -> tuple[grpc.aio.Server, Any, int]:
    """The server, listening and healthy, its health service and its port. Raises SystemExit if the port is in use."""
    server, checks = grpc.aio.server(options=_server_options(settings)), health.aio.HealthServicer()
    checked = CheckedServer(server)
    service.add_to_server(service.servicer, checked)
    health_pb2_grpc.add_HealthServicer_to_server(checks, checked)
    names = (service.full_name, health.SERVICE_NAME, reflection.SERVICE_NAME)
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(reflection.aio.ReflectionServicer(names), checked)
    await _set_health(checks, service.full_name, serving=True)
    try:
        port = _add_port(server, settings, reserved.getsockname()[1])
    except RuntimeError:
        port = 0
    if port == 0:
        raise _taken(service, settings)
    await server.start()
    reserved.close()
    return server, checks, port


def _add_port(server: grpc.aio.Server, settings: ServiceSettings, port: int) -> int:
    address = host_port(settings.host, port)
    if settings.inner_tls is None:
        return int(server.add_insecure_port(address))
    return int(server.add_secure_port(address, server_credentials(TlsFiles(settings.inner_tls))))


def _reserve_port(service: GrpcService, settings: ServiceSettings) -> socket.socket:
    """A socket that has the port and does not listen. Raises SystemExit if the port is in use.

    While a version is loaded, an outgoing connection of any process could otherwise take the port.
    """
    reserved = socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET)
    # gRPC sets the same option, so that it may bind the port too
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        reserved.bind((settings.host, settings.port))
    except OSError:
        reserved.close()
        raise _taken(service, settings) from None
    return reserved


def _taken(service: GrpcService, settings: ServiceSettings) -> SystemExit:
    return SystemExit(f"{service.name}: cannot listen on {host_port(settings.host, settings.port)}; is the port taken?")


def _serve_metrics(service: GrpcService, settings: ServiceSettings) -> telemetry.MetricsServer:
    """Starts the endpoint of the metrics. Raises SystemExit if the port is in use."""
    try:
        return telemetry.MetricsServer(settings.host, settings.metrics_port)
    except OSError as error:
        at = host_port(settings.host, settings.metrics_port)
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
        # our clients ask for a sign of life after 0.4 s of silence
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_ping_strikes", 0),
    )


def _stop_on_signals(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        # only the main thread may handle signals; tests run servers in other threads and set `stop`
        try:
            loop.add_signal_handler(number, stop.set)
        except (RuntimeError, ValueError, NotImplementedError):
            return


def _shorten_lost_answer(record: logging.LogRecord) -> bool:
    """One line without a traceback where gRPC could not send an answer because its caller had gone."""
    if record.exc_info and isinstance(record.exc_info[1], grpc.aio.InternalError):
        record.levelno, record.levelname = logging.INFO, logging.getLevelName(logging.INFO)
        record.msg, record.args, record.exc_info = "the caller went before the answer", (), None
    return True
