"""The client side: channels over all replicas of a service, and unary calls with a deadline."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable

import grpc

from twotower.errors import DeadlineExceeded
from twotower.serving import telemetry
from twotower.serving.status import REQUEST_ID_KEY, from_status
from twotower.serving.workers import Result

# gRPC's own schemes; `dns:50051` is port 50051 of a host named "dns"
_SCHEME = re.compile("(?:ipv4|ipv6|unix|unix-abstract|vsock|xds):|dns:.*:")


def connect(address: str, max_message_mb: int = 16) -> grpc.aio.Channel:
    """A channel that takes turns over the replicas behind `address`, a `host:port` or any gRPC target.

    Call it inside the running event loop. gRPC resolves names again on every reconnect.
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
            # these addresses are inside: http_proxy of the environment is for others
            ("grpc.enable_http_proxy", 0),
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.keepalive_timeout_ms", 5_000),
            # clients reach a replica again within a second or two of its return
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 2_000),
            ("grpc.dns_min_time_between_resolutions_ms", 2_000),
        ),
    )


def as_target(address: str) -> str:
    """`address` itself if it is a gRPC target with a scheme, otherwise a target that looks it up in DNS."""
    return address if ":///" in address or _SCHEME.match(address) else f"dns:///{address}"


async def call(method: Callable[..., Awaitable[Result]], request: object, timeout: float, name: str) -> Result:
    """Makes one unary call with the request id and a deadline of `timeout` seconds.

    Raises DeadlineExceeded if no time is left, or the error of `twotower.errors` that the status stands for.
    """
    if timeout <= 0:
        raise DeadlineExceeded(f"no time is left to ask {name}")
    metadata = ((REQUEST_ID_KEY, telemetry.request_id.get() or telemetry.new_request_id()),)
    try:
        return await method(request, timeout=timeout, metadata=metadata)
    except grpc.aio.AioRpcError as error:
        raise from_status(error, name) from None
