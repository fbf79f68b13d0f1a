"""The server harness of the gRPC services, and the client side of the same rules.

Every servicer raises what `errors` names; here alone it becomes a status, and a status becomes an error again.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import logging
import math
import os
import re
import signal
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from twotower import telemetry
from twotower.errors import (
    CorruptArtifact,
    DeadlineExceeded,
    InvalidInput,
    NotFound,
    Overloaded,
    TwoTowerError,
    Unavailable,
    VersionNotHeld,
)
from twotower.settings import ServiceSettings
from twotower.versions import Versions

log = logging.getLogger(__name__)

REQUEST_ID_KEY = "x-request-id"
_DETAIL_KEY = "x-error-bin"
_STATUS: dict[type[TwoTowerError], grpc.StatusCode] = {
    InvalidInput: grpc.StatusCode.INVALID_ARGUMENT,
    NotFound: grpc.StatusCode.NOT_FOUND,
    VersionNotHeld: grpc.StatusCode.FAILED_PRECONDITION,
    Unavailable: grpc.StatusCode.UNAVAILABLE,
    Overloaded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
    CorruptArtifact: grpc.StatusCode.INTERNAL,
}
# gRPC's own schemes; `dns:50051` is a port of a host of that name
_SCHEME = re.compile("(?:ipv4|ipv6|unix|unix-abstract|vsock|xds):|dns:.*:")
Result = TypeVar("Result")
# time.monotonic() at which the caller of the running call gives up
_deadline: contextvars.ContextVar[float] = contextvars.ContextVar("deadline", default=math.inf)


# a call that comes so soon after the end of another has waited for it
_CLOSE_SECONDS = 0.0005
# for so long after that, calls share the workers
_SHARED_SECONDS = 1.0


class Workers:
    """A bounded thread pool: FAISS and ONNX run here, and on the event loop only what `run_small` may run there."""

    def __init__(self, threads: int, queue: int, clock: Callable[[], float] = time.perf_counter) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="worker")
        self._limit = threads + queue
        self._waiting = 0
        self._clock = clock
        # when work ended on the event loop, and until when none is done there
        self._ended = self._shared_until = -math.inf

    async def run(self, work: Callable[..., Result], *arguments: object) -> Result:
        """`work(*arguments)` on a worker, which sees the request id of its caller.

        Overloaded where too many calls wait already; DeadlineExceeded, with nothing done, where the call's time has
        run out before a worker is free.
        """
        if self._waiting >= self._limit:
            raise Overloaded(f"{self._waiting} calls are waiting, the limit is {self._limit}")
        self._waiting += 1
        # counted until the work ends, not until its caller gives up: a cancelled call still holds its thread
        context = contextvars.copy_context()
        future = asyncio.get_running_loop().run_in_executor(self._pool, lambda: context.run(_in_time, work, *arguments))
        future.add_done_callback(self._done)
        return await asyncio.shield(future)

    async def run_small(self, work: Callable[..., Result], *arguments: object) -> Result:
        """`work(*arguments)` here on the event loop: for work of a few milliseconds, for handing it to a worker and
        being woken by it takes .3.

        It goes to a worker all the same while others are waiting for one, so that it never overtakes them, and for a
        second after calls have come faster than one thread serves them: workers are as many as may run at a time.
        """
        now = self._clock()
        if now - self._ended < _CLOSE_SECONDS:
            self._shared_until = now + _SHARED_SECONDS
        if self._waiting or now < self._shared_until:
            return await self.run(work, *arguments)
        try:
            return _in_time(work, *arguments)
        finally:
            self._ended = self._clock()

    def _done(self, future: asyncio.Future[Any]) -> None:
        self._waiting -= 1
        if not future.cancelled():
            future.exception()  # seen here, so that work whose caller has gone is not reported as lost

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


def _in_time(work: Callable[..., Result], *arguments: object) -> Result:
    late = time.monotonic() - _deadline.get()
    if late >= 0:
        raise DeadlineExceeded(f"the call waited for a worker until {late:.3f} s past its deadline")
    return work(*arguments)


class Guarded:
    """A servicer's calls, each with the request id and the deadline of its caller, its timing, and the one translation
    of our errors to statuses. A method `XStream` answers each message of its stream as `X` answers it alone.

    What an interceptor is made for, but gRPC makes an interceptor's handlers anew for every call.
    """

    def __init__(self, servicer: object) -> None:
        self._servicer = servicer

    def __getattr__(self, method: str) -> Callable[[Any, Any], Awaitable[Any]]:
        name = method.removesuffix("Stream")
        guarded = _Guard(getattr(self._servicer, name), name)
        return guarded.call if name == method else guarded.stream


class _Guard:
    """One method, called alone or by the messages of a stream."""

    def __init__(self, inner: Callable[[Any, Any], Awaitable[Any]], method: str) -> None:
        self._inner = inner
        self._method = method
        self._seconds_of_good = telemetry.CALL_SECONDS.labels(method, grpc.StatusCode.OK.name)

    async def call(self, request: Any, context: Any) -> Any:
        metadata = dict(context.invocation_metadata() or ())
        return await self._answer(request, context, str(metadata.get(REQUEST_ID_KEY, "")), context.time_remaining())

    async def stream(self, requests: object, context: Any) -> None:
        while (request := await context.read()) is not grpc.aio.EOF:
            caller = request.caller
            remaining = caller.timeout_ms / 1000 if caller.timeout_ms else None
            await context.write(await self._answer(request, context, caller.request_id, remaining))

    async def _answer(self, request: Any, context: Any, request_id: str, remaining: float | None) -> Any:
        telemetry.request_id.set(request_id or telemetry.new_request_id())
        _deadline.set(math.inf if remaining is None else time.monotonic() + remaining)
        started, status = time.perf_counter(), grpc.StatusCode.OK
        if log.isEnabledFor(logging.DEBUG):
            log.debug("call received", extra={"method": self._method})
        try:
            return await self._inner(request, context)
        except TwoTowerError as error:
            status = _STATUS.get(type(error), grpc.StatusCode.INTERNAL)
            if status is grpc.StatusCode.INTERNAL:
                log.error("call failed: %s", error, extra={"method": self._method})
            context.set_trailing_metadata(((_DETAIL_KEY, _pack_detail(error)),))
            await context.abort(status, str(error))
        except asyncio.CancelledError:
            status = grpc.StatusCode.CANCELLED
            raise
        except Exception:
            status = grpc.StatusCode.INTERNAL
            log.exception("call failed", extra={"method": self._method})
            await context.abort(status, f"internal error; request id {telemetry.request_id.get()}")
        finally:
            self._record(status, time.perf_counter() - started)

    def _record(self, status: grpc.StatusCode, seconds: float) -> None:
        good = status is grpc.StatusCode.OK
        timer = self._seconds_of_good if good else telemetry.CALL_SECONDS.labels(self._method, status.name)
        timer.observe(seconds)
        level = logging.DEBUG if good else logging.INFO
        if log.isEnabledFor(level):
            extra = {"method": self._method, "status": status.name, "ms": round(seconds * 1000, 3)}
            log.log(level, "call answered", extra=extra)


async def serve(
    *,
    service: str,
    full_name: str,
    settings: ServiceSettings,
    versions: Versions[Any],
    servicer: object,
    add_to_server: Callable[[Any, grpc.aio.Server], None],
    stop: asyncio.Event | None = None,
    on_ready: Callable[[int], None] = lambda port: None,
) -> None:
    """Runs one gRPC service until SIGTERM, SIGINT or `stop`, then drains.

    Health is SERVING only while a version is loaded and warmed. `on_ready` gets the port as soon as the server
    listens, before a version is there. Raises SystemExit naming the port where it is taken.
    """
    stop = stop or asyncio.Event()
    server, checks = grpc.aio.server(options=_server_options(settings)), health.aio.HealthServicer()
    add_to_server(Guarded(servicer), server)
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    reflection.enable_server_reflection((full_name, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    await _set_health(checks, full_name, serving=False)
    try:
        port = server.add_insecure_port(f"{settings.host}:{settings.port}")
    except RuntimeError:
        port = 0
    if port == 0:
        raise SystemExit(f"{service}: cannot listen on {settings.host}:{settings.port}; is the port taken?")
    try:
        metrics_port = telemetry.serve_metrics(settings.host, settings.metrics_port)
    except OSError as error:
        at = f"{settings.host}:{settings.metrics_port}"
        raise SystemExit(f"{service}: cannot serve metrics on {at}: {error.strerror}") from None
    await server.start()
    log.info("listening", extra={"port": port, "metrics_port": metrics_port})
    on_ready(port)
    _stop_on_signals(stop)

    async def on_change() -> None:
        # a version that goes is freed all the same: what holds it are references, and a catalogue closes its connection
        telemetry.settle_memory()
        await _set_health(checks, full_name, serving=versions.ready)

    follower = asyncio.create_task(versions.follow(settings.poll_seconds, on_change))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait((stopping, follower), return_when=asyncio.FIRST_COMPLETED)
    follower_failed = follower.done() and not follower.cancelled() and follower.exception()
    follower.cancel()
    stopping.cancel()
    log.info("draining", extra={"seconds": settings.drain_seconds})
    await _set_health(checks, full_name, serving=False)
    await server.stop(settings.drain_seconds)
    log.info("stopped")
    if follower_failed:
        raise follower_failed


def connect(address: str, max_message_mb: int = 16) -> grpc.aio.Channel:
    """A channel to every replica behind `address`, taking turns; made inside the running event loop.

    `address` may be `host:port` or any gRPC target; names are resolved through DNS again on every reconnect.
    """
    retry = {
        "maxAttempts": 3,
        "initialBackoff": "0.02s",
        "maxBackoff": "0.2s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
    config = {
        "loadBalancingConfig": [{"round_robin": {}}],
        "methodConfig": [{"name": [{}], "retryPolicy": retry, "waitForReady": False}],
    }
    return grpc.aio.insecure_channel(
        as_target(address),
        options=(
            ("grpc.service_config", json.dumps(config)),
            ("grpc.max_receive_message_length", max_message_mb << 20),
            ("grpc.max_send_message_length", max_message_mb << 20),
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.keepalive_timeout_ms", 5_000),
            # a replica that comes back is found again within a second or two
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 2_000),
            ("grpc.dns_min_time_between_resolutions_ms", 2_000),
        ),
    )


def as_target(address: str) -> str:
    """`address` itself where it is a gRPC target of some scheme, otherwise the target that has DNS look it up."""
    return address if ":///" in address or _SCHEME.match(address) else f"dns:///{address}"


async def call(method: Callable[..., Awaitable[Result]], request: object, timeout: float, name: str) -> Result:
    """One unary call with the request id and a deadline of `timeout` seconds; a status comes back as our error."""
    if timeout <= 0:
        raise DeadlineExceeded(f"no time is left to ask {name}")
    metadata = ((REQUEST_ID_KEY, telemetry.request_id.get() or telemetry.new_request_id()),)
    try:
        return await method(request, timeout=timeout, metadata=metadata)
    except grpc.aio.AioRpcError as error:
        raise from_status(error, name) from None


def from_status(error: grpc.aio.AioRpcError, name: str) -> TwoTowerError:
    """Our error for a status that the service `name` answered with."""
    message = error.details() or error.code().name
    packed = next((value for key, value in error.trailing_metadata() or () if key == _DETAIL_KEY), None)
    detail: dict[str, Any] = json.loads(packed) if packed else {}
    match error.code():
        case grpc.StatusCode.FAILED_PRECONDITION if "held" in detail:
            return VersionNotHeld(detail["wanted"], detail["held"])
        case grpc.StatusCode.INVALID_ARGUMENT if "field" in detail:
            invalid = InvalidInput(detail["field"], "", detail["problem"])
            invalid.value = detail["value"]
            invalid.args = (message,)
            return invalid
        case grpc.StatusCode.INVALID_ARGUMENT:
            return InvalidInput(name, "request", message)
        case grpc.StatusCode.NOT_FOUND:
            return NotFound(message, field=str(detail.get("field", "")))
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            return Overloaded(f"{name}: {message}")
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return DeadlineExceeded(f"{name} did not answer in time")
        case grpc.StatusCode.UNAVAILABLE if packed:
            return Unavailable(f"{name}: {message}")
        case grpc.StatusCode.UNAVAILABLE | grpc.StatusCode.CANCELLED:
            # gRPC's own words name addresses of the inside: they are for the log, not for callers
            log.info("%s cannot be reached: %s", name, message)
            return Unavailable(f"{name} cannot be reached")
        case _:
            log.error("unexpected status from %s: %s %s", name, error.code(), message)
            return Unavailable(f"{name} failed")


def limit_numeric_threads(threads: int) -> None:
    """Sets the thread counts of OpenMP and BLAS; call it before numpy, FAISS or ONNX Runtime are imported."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, str(threads))


def _pack_detail(error: TwoTowerError) -> bytes:
    return json.dumps(error.detail(), ensure_ascii=False).encode("utf-8", "replace")


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
        # two servers on one port would share its connections, and half the answers would come from the other one
        ("grpc.so_reuseport", 0),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    )


def _stop_on_signals(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        # only the main thread may take signals; a test runs servers elsewhere and uses `stop`
        try:
            loop.add_signal_handler(number, stop.set)
        except (RuntimeError, ValueError, NotImplementedError):
            return
