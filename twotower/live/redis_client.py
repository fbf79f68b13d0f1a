"""A blocking client of the Redis that a URL names: one server, a cluster, or the primary that sentinels know.

    redis://host:6379/0                                  one server (unix:///path for a socket)
    redis+cluster://host:6379,host:6379                  a cluster, found through any of these nodes
    redis+sentinel://host:26379,host:26379/mymaster/0    the primary of this name

`rediss` instead of `redis` stands for TLS. User and password go to Redis; `sentinel_username` and `sentinel_password`
in the query go to the sentinels. All other options of the query are those of redis-py's connections.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit

from redis import Redis, RedisCluster, Sentinel
from redis.cluster import ClusterNode
from redis.connection import SSLConnection, parse_url
from redis.exceptions import RedisError

PATTERN = r"((redis|rediss)(\+cluster|\+sentinel)?|unix)://"
_SENTINEL_LOGIN = {"sentinel_username": "username", "sentinel_password": "password"}


class _Many(NamedTuple):
    """A cluster (`service` is empty) or the primary of a name: nodes or sentinels, and the options of a connection."""

    nodes: list[tuple[str, int]]
    service: str
    options: dict[str, Any]
    sentinel_login: dict[str, str]


def open_redis(url: str, timeout_seconds: float) -> Redis | RedisCluster:
    """The client. That of a cluster asks it at once, which raises RedisError. Raises ValueError for a bad URL."""
    bounds: dict[str, Any] = {"socket_timeout": timeout_seconds, "socket_connect_timeout": timeout_seconds}
    many = _read_many(url)
    if many is None:
        return Redis.from_url(url, health_check_interval=30, **bounds)
    options = {**bounds, **many.options}
    if not many.service:
        # the nodes that are not named here are looked up
        known: list[Any] = [ClusterNode(*node) for node in many.nodes]  # type: ignore[no-untyped-call]
        return RedisCluster(startup_nodes=known, **options)
    of_sentinels = {name: value for name, value in options.items() if name.startswith(("socket_", "ssl"))}
    login = {**of_sentinels, **many.sentinel_login}
    sentinel = Sentinel(many.nodes, sentinel_kwargs=login)  # type: ignore[no-untyped-call]
    client: Redis = sentinel.master_for(many.service, **options)  # type: ignore[no-untyped-call]
    return client


def check_redis_url(url: str) -> str:
    """The URL, if a client can be made of it; does not connect. Raises ValueError, without any part of a password."""
    if re.search("[/?#@]", url.partition("://")[2].rpartition("@")[0]):
        raise ValueError("user name and password must be percent-encoded: / as %2F, ? as %3F, # as %23, @ as %40")
    try:
        many = _read_many(url)
        # what reads the options; a client of a cluster would connect
        client = Redis.from_url(url) if many is None else Redis(**many.options)
        client.connection_pool.make_connection()
    except (RedisError, AttributeError, TypeError) as error:
        raise ValueError(str(error)) from None
    return url


def _read_many(url: str) -> _Many | None:
    """None for one server. Raises ValueError."""
    scheme, _, kind = url.partition("://")[0].partition("+")
    if not kind:
        return None
    parts = urlsplit(url)
    login, at, hosts = parts.netloc.rpartition("@")
    nodes = [_host_and_port(one, 6379 if kind == "cluster" else 26379) for one in hosts.split(",")]
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    query = urlencode([(name, value) for name, value in pairs if name not in _SENTINEL_LOGIN])
    service, _, database = parts.path.strip("/").partition("/")
    if kind == "cluster":
        if service not in ("", "0") or database:
            raise ValueError(f"a Redis cluster has the database 0 alone, not {parts.path!r}")
        service, database = "", "0"
    elif not service:
        raise ValueError("the path must name the primary: redis+sentinel://host:26379/mymaster")
    if not re.fullmatch("[0-9]*", database):
        raise ValueError(f"{parts.path!r} is not /PRIMARY or /PRIMARY/DATABASE")
    plain = f"{scheme}://{login}{at}h/{database or 0}?{query}"
    options: dict[str, Any] = dict(parse_url(plain))  # type: ignore[no-untyped-call]
    for name in ("host", "port", *(["db"] if kind == "cluster" else [])):
        options.pop(name, None)
    if options.pop("connection_class", None) is SSLConnection:
        options["ssl"] = True
    return _Many(nodes, service, options, {_SENTINEL_LOGIN[name]: to for name, to in pairs if name in _SENTINEL_LOGIN})


def _host_and_port(node: str, default_port: int) -> tuple[str, int]:
    parts = urlsplit(f"//{node}")
    if not parts.hostname:
        raise ValueError(f"{node!r} is not a host:port")
    return parts.hostname, parts.port or default_port
