"""The client side: channels that find every replica, and calls with a deadline."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable

import grpc

from twotower.errors import (
    DeadlineExceeded,
)
from twotower.serving import telemetry
from twotower.serving.status import REQUEST_ID_KEY, from_status
from twotower.serving.workers import Result

# gRPC's own schemes; `dns:50051` is a port of a host of that name
_SCHEME = re.compile("(?:ipv4|ipv6|unix|unix-abstract|vsock|xds):|dns:.*:")


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
