"""Rate limits per key, shared by all gateways through Redis.

A limit is a sliding window (`limits`' sliding window counter). A round trip to Redis for each request would cost as
much CPU as half of a /retrieve, so a worker takes permits in blocks of two per cent of the limit and spends them from
memory. The price: a worker that stops asking wastes up to one block, and one that spends an old block in the next
window exceeds the limit by up to one block. A limit below 100 has blocks of one, and is exact.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from limits import RateLimitItem
from limits.aio.storage import MemoryStorage, RedisClusterStorage, RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisClusterException, RedisError

from gateway import metrics
from gateway.auth.keys import Key
from gateway.history.breaker import Breaker
from gateway.history.connection import redis_bounds
from gateway.redis_url import read_redis_url
from gateway.settings import GatewaySettings
from twotower.errors import Unavailable

log = logging.getLogger(__name__)

_BLOCK_SHARE = 50
# a refusal is remembered for this long, so that a flood costs Redis nothing
_REFUSAL_SECONDS = 1.0
_CONNECTIONS = 4
_KEY_PREFIX = "twotower:limits:1"


class Quota(NamedTuple):
    """What is left of a key's limit after this request, and the seconds until more of it comes back."""

    granted: bool
    remaining: int
    reset_seconds: int


@dataclass
class _Lease:
    """The permits that this worker holds for one key. Times are of `time.monotonic`."""

    permits: int = 0
    valid_until: float = 0.0
    refused_until: float = 0.0
    left_in_window: int = 0
    reset_at: float = 0.0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def quota(self, granted: bool, now: float) -> Quota:
        left = self.left_in_window + self.permits if granted else 0
        return Quota(granted, left, max(1, math.ceil(self.reset_at - now)))


class RateLimiter:
    """Takes one permit per request. While Redis is away each worker counts by itself, up to the whole limit."""

    def __init__(self, storage: RedisStorage, breaker: Breaker) -> None:
        self._shared = SlidingWindowCounterRateLimiter(storage)
        self._alone = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._breaker = breaker
        self._leases: dict[tuple[str, str], _Lease] = {}

    async def take(self, key: Key, limit: RateLimitItem) -> Quota:
        """One permit of the key's limit, or the refusal."""
        lease = self._leases.setdefault((key.id, str(limit)), _Lease())
        now = time.monotonic()
        if lease.permits and now < lease.valid_until:
            lease.permits -= 1
            return lease.quota(True, now)
        async with lease.lock:
            now = time.monotonic()
            if now < lease.refused_until:
                return lease.quota(False, now)
            if not lease.permits or now >= lease.valid_until:
                await self._renew(lease, key, limit)
            now = time.monotonic()
            if not lease.permits:
                lease.refused_until = now + min(_REFUSAL_SECONDS, max(0.0, lease.reset_at - now))
                return lease.quota(False, now)
            lease.permits -= 1
            return lease.quota(True, now)

    async def _renew(self, lease: _Lease, key: Key, limit: RateLimitItem) -> None:
        try:
            self._breaker.check()
            await _take_block(self._shared, lease, key, limit)
            self._breaker.succeeded()
        except (RedisError, RedisClusterException, OSError, Unavailable) as error:
            if not isinstance(error, Unavailable):
                self._breaker.failed(error)
            metrics.RATE_LIMITS_ALONE.inc()
            await _take_block(self._alone, lease, key, limit)


async def _take_block(limiter: SlidingWindowCounterRateLimiter, lease: _Lease, key: Key, limit: RateLimitItem) -> None:
    """Fills the lease with a block of permits, with a single one near the end of the limit, or with none."""
    block, permits = max(1, limit.amount // _BLOCK_SHARE), 0
    for cost in dict.fromkeys((block, 1)):
        if await limiter.hit(limit, key.id, cost=cost):
            permits = cost
            break
    stats = await limiter.get_window_stats(limit, key.id)
    # from here on nothing waits: other requests spend permits as soon as they see them
    lease.permits = permits
    now = time.monotonic()
    lease.valid_until = now + limit.get_expiry()
    lease.left_in_window = int(stats.remaining)
    lease.reset_at = now + max(0.0, stats.reset_time - time.time())


def connect_limiter(settings: GatewaySettings) -> tuple[RateLimiter, Callable[[], Awaitable[None]]]:
    """A limiter, and what closes its connections to Redis. Call it inside the running event loop."""
    url, retry = read_redis_url(settings.redis_url), Retry(NoBackoff(), 1)
    bounds = {**redis_bounds(settings), "max_connections": _CONNECTIONS, "retry": retry}
    breaker = Breaker("Redis for rate limits", settings.redis_retry_seconds)
    # neither URL is used: the options have the nodes, the pool has the connections
    if url.kind == "cluster":
        clustered = RedisClusterStorage(
            "async+redis+cluster://node:6379",
            implementation="redispy",
            key_prefix=_KEY_PREFIX,
            **url.cluster_options(**bounds),
        )
        # typed as that of any library
        bridge: Any = clustered.bridge
        return RateLimiter(clustered, breaker), bridge.storage.aclose
    pool = url.pool(timeout=settings.redis_timeout_seconds, **bounds)
    storage = RedisStorage(
        "async+redis://pool:6379", implementation="redispy", key_prefix=_KEY_PREFIX, connection_pool=pool
    )
    return RateLimiter(storage, breaker), pool.disconnect
