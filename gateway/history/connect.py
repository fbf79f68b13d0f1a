"""Opens the connections to Redis that the settings ask for."""

from __future__ import annotations

from redis.asyncio import RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from gateway.history.cluster import Cluster
from gateway.history.connection import OneServer, RedisPipelines, redis_bounds
from gateway.redis_url import read_redis_url
from gateway.settings import GatewaySettings


def connect_redis(settings: GatewaySettings) -> RedisPipelines:
    """Pipelines with a bound on every wait. Call it inside the running event loop; it connects on first use."""
    url, bounds = read_redis_url(settings.redis_url), redis_bounds(settings)
    connections = settings.redis_connections
    if url.kind == "cluster":
        # a connection that has been idle for long is not tested: what fails on it is sent again
        client = RedisCluster(max_connections=connections, **url.cluster_options(**bounds))
        return Cluster(client, connections, settings.redis_retry_seconds)
    return OneServer(
        url.pool(
            max_connections=connections,
            timeout=settings.redis_timeout_seconds,
            health_check_interval=30,
            retry=Retry(NoBackoff(), 1),
            **bounds,
        )
    )
