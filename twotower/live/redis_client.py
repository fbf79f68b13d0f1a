"""A blocking client of the Redis that a URL names: one server, a cluster, or the primary that sentinels know.

    redis://host:6379/0                                  one server (unix:///path for a socket)
    redis+cluster://host:6379,host:6379                  a cluster, found through any of these nodes
    redis+sentinel://host:26379,host:26379/mymaster/0    the primary of this name

`rediss` instead of `redis` stands for TLS.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from redis import Redis, RedisCluster, Sentinel
from redis.cluster import ClusterNode
from redis.exceptions import RedisError

from twotower.errors import SettingsError


def open_redis(url: str, timeout_seconds: float) -> Redis | RedisCluster:
    """The client. That of a cluster asks it at once, which raises RedisError. Raises SettingsError for a bad URL."""
    bounds: dict[str, Any] = {"socket_timeout": timeout_seconds, "socket_connect_timeout": timeout_seconds}
    try:
        if "+" not in url.partition("://")[0]:
            return Redis.from_url(url, health_check_interval=30, **bounds)
        parts = urlsplit(url)
        login, at, hosts = parts.netloc.rpartition("@")
        nodes = [_host_and_port(one, 6379 if "+cluster" in parts.scheme else 26379) for one in hosts.split(",")]
        plain = parts._replace(scheme=parts.scheme.partition("+")[0], netloc=f"{login}{at}{hosts.split(',')[0]}")
        if "+cluster" not in parts.scheme:
            return _primary(nodes, plain.path, plain.username, plain.password, plain.scheme == "rediss", bounds)
        known: list[Any] = [ClusterNode(*node) for node in nodes]  # type: ignore[no-untyped-call]
    except (TypeError, ValueError) as error:
        raise SettingsError(f"the URL of Redis cannot be used: {error}") from None
    return RedisCluster.from_url(plain.geturl(), startup_nodes=known, **bounds)


def _primary(
    nodes: list[tuple[str, int]],
    path: str,
    username: str | None,
    password: str | None,
    is_tls: bool,
    bounds: dict[str, Any],
) -> Redis:
    service, _, database = path.strip("/").partition("/")
    if not service:
        raise ValueError("the path must name the primary: redis+sentinel://host:26379/mymaster")
    sentinel = Sentinel(nodes, sentinel_kwargs=bounds, ssl=is_tls, **bounds)  # type: ignore[no-untyped-call]
    client: Redis = sentinel.master_for(  # type: ignore[no-untyped-call]
        service, username=username, password=password, db=int(database or 0)
    )
    return client


def _host_and_port(node: str, default_port: int) -> tuple[str, int]:
    parts = urlsplit(f"//{node}")
    if not parts.hostname:
        raise ValueError(f"{node!r} is not a host:port")
    return parts.hostname, parts.port or default_port


__all__ = ["RedisError", "open_redis"]
