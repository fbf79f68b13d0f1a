"""The client side: channels over all replicas of a service, and unary calls with a deadline."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import grpc

from twotower.errors import DeadlineExceeded
from twotower.serving import telemetry, tracing
from twotower.serving.status import REQUEST_ID_KEY, from_status
from twotower.serving.tls import RenewedChannel, TlsFiles
from twotower.serving.workers import Result

# gRPC's own schemes; `dns:50051` is port 50051 of a host named "dns"
_SCHEME = re.compile("(?:ipv4|ipv6|unix|unix-abstract|vsock|xds):|dns:.*:")
_BARE_IPV6 = re.compile("[0-9A-Fa-f]*:[0-9A-Fa-f]*:[0-9A-Fa-f:.]*")
# A connection that is silent for 0.4 s is asked for a sign of life, and closed 0.5 s later without one. The server must
# permit this (see server.py). Pings that measure the bandwidth need the same limit: while one is under way, gRPC sends
# no other, and its own limit for them is a minute.
_KEEPALIVE = (
    ("grpc.keepalive_time_ms", 400),
    ("grpc.keepalive_timeout_ms", 500),
    ("grpc.http2.ping_timeout_ms", 500),
    ("grpc.http2.max_pings_without_data", 0),
)
# clients reach a replica again within half a second of its return; an attempt to connect takes at most a second
_RECONNECT = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 400),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.dns_min_time_between_resolutions_ms", 1_000),
)


def connect(address: str, max_message_mb: int = 16, tls: Path | None = None) -> grpc.aio.Channel | RenewedChannel:
    """A channel that takes turns over the healthy replicas behind `address`, a `host:port` or any gRPC target.

    A replica gets calls while its grpc.health.v1 service says SERVING, and is left within a second if it hangs: its
    calls then fail as UNAVAILABLE, and may be repeated. Call it inside the running event loop. gRPC resolves names
    again on every reconnect. `tls`: a folder for mutual TLS, see `twotower.serving.tls`.
    """
    target, options = as_target(address), _options(max_message_mb)
    if tls is None:
        return grpc.aio.insecure_channel(target, options=options)
    return RenewedChannel(
        TlsFiles(tls), lambda credentials: grpc.aio.secure_channel(target, credentials, options=options)
    )


def _options(max_message_mb: int) -> Sequence[tuple[str, object]]:
    retry = {
        "maxAttempts": 3,
        "initialBackoff": "0.02s",
        "maxBackoff": "0.2s",
        "backoffMultiplier": 2,
        # with CANCELLED a server that stops ends the calls that cross its GOAWAY
        "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
    }
    config = {
        "loadBalancingConfig": [{"round_robin": {}}],
        "healthCheckConfig": {"serviceName": ""},
        "methodConfig": [{"name": [{}], "retryPolicy": retry, "waitForReady": False}],
    }
    return (
        ("grpc.service_config", json.dumps(config)),
        ("grpc.max_receive_message_length", max_message_mb << 20),
        ("grpc.max_send_message_length", max_message_mb << 20),
        # these addresses are inside: http_proxy of the environment is for others
        ("grpc.enable_http_proxy", 0),
        *_KEEPALIVE,
        *_RECONNECT,
    )


def as_target(address: str) -> str:
    """`address` itself if it is a gRPC target with a scheme, otherwise a target that looks it up in DNS.

    Raises ValueError for an IPv6 address without brackets: where its port begins cannot be told.
    """
    if not _SCHEME.match(address) and "://" not in address and _BARE_IPV6.fullmatch(address):
        raise ValueError(f"an IPv6 address needs brackets, as in [::1]:50051, not {address!r}")
    return address if ":///" in address or _SCHEME.match(address) else f"dns:///{address}"


async def call(method: Callable[..., Awaitable[Result]], request: object, timeout: float, name: str) -> Result:
    """Makes one unary call with the request id, the trace context and a deadline of `timeout` seconds.

    Raises DeadlineExceeded if no time is left, or the error of `twotower.errors` that the status stands for.
    """
    if timeout <= 0:
        raise DeadlineExceeded(f"no time is left to ask {name}")
    metadata = [(REQUEST_ID_KEY, telemetry.request_id.get() or telemetry.new_request_id())]
    if traceparent := tracing.traceparent():
        metadata.append((tracing.TRACEPARENT, traceparent))
    try:
        return await method(request, timeout=timeout, metadata=metadata)
    except grpc.aio.AioRpcError as error:
        raise from_status(error, name) from None
