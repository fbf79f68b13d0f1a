"""The connections to Redis."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import Any

import hiredis
from redis.asyncio import BlockingConnectionPool, Connection, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from gateway.settings import GatewaySettings


class PackedConnection(Connection):
    """Commands are packed by hiredis, as redis-py's blocking connection does: a write of 50 interactions in an eighth
    of the time that its asyncio connection takes. For redis:// alone; redis-py gives rediss:// and unix:// its own."""

    def pack_command(self, *args: Any) -> list[bytes]:
        name, *rest = args
        # a literal argument may stand in the name: CONFIG GET
        words = name.encode().split() if isinstance(name, str) else name.split()
        return [hiredis.pack_command((*words, *rest))]


def connect_redis(settings: GatewaySettings) -> Redis:
    """A client whose every wait is finite; made inside the running event loop, connects on first use."""
    pool = BlockingConnectionPool.from_url(
        settings.redis_url,
        connection_class=PackedConnection,
        max_connections=settings.redis_connections,
        timeout=settings.redis_timeout_seconds,
        socket_timeout=settings.redis_timeout_seconds,
        socket_connect_timeout=settings.redis_connect_timeout_seconds,
        health_check_interval=30,
        # once more, on a fresh connection: the pooled one may have died while it was idle. All commands are idempotent
        retry=Retry(NoBackoff(), 1),
        # the protocol and the handshake of Redis 6.2
        protocol=2,
        driver_info=None,
    )
    return Redis(connection_pool=pool)


async def round_trip(connection: Any, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Sends commands in one packet; a reply, or the error in its place, to each."""
    await connection.send_packed_command(connection.pack_commands(commands))
    replies: list[Any] = []
    try:
        # one bound for all replies: the connection's own, for each of them, takes as long as reading one
        async with asyncio.timeout(connection.socket_timeout):
            for _ in commands:
                try:
                    replies.append(await connection.read_response(timeout=math.inf))
                except ResponseError as error:
                    replies.append(error)
    except TimeoutError:
        raise RedisTimeoutError("no answer in time") from None
    return replies
