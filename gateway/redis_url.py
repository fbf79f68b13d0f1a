"""What a Redis URL stands for: one server, a cluster, or a primary that Sentinel names; and redis-py's clients for it.

    redis://host:6379/0                                  one server (unix:///path for a socket)
    redis+cluster://host:6379,host:6379                  a cluster, found through any of these nodes
    redis+sentinel://host:26379,host:26379/mymaster/0    the primary of this name, as these sentinels know it

`rediss` instead of `redis` stands for TLS. User and password go to Redis; `sentinel_username` and `sentinel_password`
in the query go to the sentinels. All other options of the query are those of redis-py's connections.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from redis.asyncio import BlockingConnectionPool, RedisCluster, SSLConnection
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import RedisClusterException, RedisError

Kind = Literal["one", "cluster", "sentinel"]
_SCHEME = re.compile(r"(rediss?)\+(cluster|sentinel)")
_DEFAULT_PORTS = {"cluster": 6379, "sentinel": 26379}
_SENTINEL_LOGIN = {"sentinel_username": "username", "sentinel_password": "password"}


@dataclass(frozen=True)
class RedisUrl:
    """A URL that was read. `plain`: as redis-py reads that of one server. `nodes`: of a cluster, or sentinels."""

    kind: Kind
    plain: str = field(repr=False)
    nodes: tuple[tuple[str, int], ...] = ()
    service: str = ""
    sentinel_login: Mapping[str, str] = field(default_factory=dict, repr=False)

    # Any: redis-py types neither its pool's connections nor their methods
    def pool(self, **bounds: Any) -> Any:
        """A pool of connections to the one server, or to the primary, which the sentinels are asked for each time that
        one is opened."""
        if self.kind == "one":
            return BlockingConnectionPool.from_url(self.plain, **bounds)
        options, is_tls = self._options(bounds)
        asked = {name: value for name, value in options.items() if name.startswith(("socket_", "ssl_"))}
        sentinel = Sentinel(  # type: ignore[no-untyped-call]
            self.nodes,
            sentinel_kwargs={
                **asked,
                **self.sentinel_login,
                "ssl": is_tls,
                "protocol": 2,
                "driver_info": None,
                # the next sentinel is asked instead
                "retry": Retry(NoBackoff(), 0),
            },
        )
        return _SentinelPool(self.service, sentinel, ssl=is_tls, **options)  # type: ignore[no-untyped-call]

    def cluster_options(self, **bounds: Any) -> dict[str, Any]:
        """The arguments of `RedisCluster`."""
        options, is_tls = self._options(bounds)
        options.pop("db", None)
        return {"startup_nodes": [ClusterNode(*node) for node in self.nodes], "ssl": is_tls, **options}

    def _options(self, bounds: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
        """The options of a connection, those of the URL first, and whether it is a TLS one."""
        options: dict[str, Any] = {**bounds, **parse_url(self.plain)}
        for name in ("host", "port"):
            options.pop(name, None)
        return options, options.pop("connection_class", None) is SSLConnection


class _SentinelPool(SentinelConnectionPool, BlockingConnectionPool):
    """redis-py's pool for Sentinel, in which callers wait for a connection instead of failing."""


def read_redis_url(value: str) -> RedisUrl:
    """Raises ValueError for a URL from which redis-py cannot create a connection; does not connect.

    No message shows a part of a password: one that is not percent-encoded is read as a host, port or path.
    """
    if re.search("[/?#@]", value.partition("://")[2].rpartition("@")[0]):
        raise ValueError("user name and password must be percent-encoded: / as %2F, ? as %3F, # as %23, @ as %40")
    scheme = _SCHEME.fullmatch(value.partition("://")[0])
    url = RedisUrl("one", value) if scheme is None else _read_many(value, scheme[1], scheme[2])
    _check(url)
    return url


def _read_many(value: str, scheme: str, kind: str) -> RedisUrl:
    parts = urlsplit(value)
    login, at, hosts = parts.netloc.rpartition("@")
    nodes = tuple(_read_node(host, _DEFAULT_PORTS[kind]) for host in hosts.split(","))
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    query = urlencode([(name, given) for name, given in pairs if name not in _SENTINEL_LOGIN])
    sentinel_login = {_SENTINEL_LOGIN[name]: given for name, given in pairs if name in _SENTINEL_LOGIN}
    service, _, database = parts.path.strip("/").partition("/")
    if kind == "cluster":
        if service not in ("", "0") or database:
            raise ValueError(f"a Redis cluster has the database 0 alone, not {parts.path!r}")
        if sentinel_login:
            raise ValueError("sentinel_username and sentinel_password are for redis+sentinel://")
        plain = f"{scheme}://{login}{at}h/0?{query}"
        return RedisUrl("cluster", plain, nodes)
    if not service:
        raise ValueError("the path must name the primary: redis+sentinel://host:26379/mymaster")
    plain = f"{scheme}://{login}{at}h/{database or 0}?{query}"
    return RedisUrl("sentinel", plain, nodes, unquote(service), sentinel_login)


def _read_node(host: str, default_port: int) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{host}")
        name, port = parts.hostname, parts.port or default_port
    except ValueError:
        name, port = None, 0
    if not name:
        raise ValueError(f"{host!r} is not a host:port; write several as host:port,host:port and IPv6 as [::1]:port")
    return unquote(name), port


def _check(url: RedisUrl) -> None:
    parts = urlsplit(url.plain)
    try:
        if url.kind == "cluster":
            # it takes fewer options than a connection
            RedisCluster(**url.cluster_options())
        # what reads the values of the options
        alone = RedisUrl("one", url.plain) if url.kind == "cluster" else url
        encoder = alone.pool().make_connection().encoder
    except (RedisError, RedisClusterException, AttributeError, TypeError, ValueError) as error:
        # an unknown option raises TypeError, an option of the wrong type may raise AttributeError
        raise ValueError(str(error)) from None
    # the library silently takes database 0 if the path is not a number
    if parts.scheme != "unix" and not re.fullmatch("/?|/[0-9]+/?", unquote(parts.path)):
        raise ValueError(f"{parts.path!r} is not a database number")
    if encoder.decode_responses:
        raise ValueError("decode_responses must not be set: histories are read as bytes")
