"""Real Redis clusters and sentinels for tests, on free ports."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

from redis import Redis

from tests.helpers.redis_server import RedisServer, free_port

SLOTS = 16_384
# a node's bus listens 10,000 ports above its own
_HIGHEST_PORT = 55_000
_SECONDS = 20.0


class Sentinels(NamedTuple):
    """One sentinel, the primary "mymaster" that it watches, and this one's replica."""

    url: str
    sentinel: Redis
    primary: RedisServer
    replica: RedisServer


def wait_until(is_so: Callable[[], Any]) -> None:
    end = time.monotonic() + _SECONDS
    while not is_so():
        assert time.monotonic() < end, f"waited {_SECONDS} s"
        time.sleep(0.02)


@contextmanager
def running_cluster(nodes: int = 3, options: Sequence[str] = ()) -> Iterator[list[RedisServer]]:
    """A cluster of primaries that share the slots evenly, the lowest slots on the first node."""
    with ExitStack() as stack:
        enabled = ("--cluster-enabled", "yes", "--appendonly", "no", *options)
        servers = [stack.enter_context(RedisServer(_low_port(), enabled)) for _ in range(nodes)]
        clients = [stack.enter_context(Redis(port=server.port)) for server in servers]
        for place, client in enumerate(clients):
            first, end = (SLOTS * side // nodes for side in (place, place + 1))
            # equal epochs are a conflict
            client.execute_command("CLUSTER SET-CONFIG-EPOCH", place + 1)
            client.execute_command("CLUSTER ADDSLOTS", *range(first, end))
            client.execute_command("CLUSTER MEET", "127.0.0.1", servers[0].port)
        for client in clients:
            wait_until(lambda client=client: _is_whole(client, nodes))
        yield servers


@contextmanager
def running_sentinel(password: str = "") -> Iterator[Sentinels]:
    """A primary, its replica, and a sentinel that knows both; `password` is the sentinel's."""
    with ExitStack() as stack:
        primary = stack.enter_context(RedisServer())
        of_primary = ("--appendonly", "no", "--replicaof", "127.0.0.1", str(primary.port))
        replica = stack.enter_context(RedisServer(options=of_primary))
        watched = (
            ("monitor", "mymaster", "127.0.0.1", str(primary.port), "1"),
            ("down-after-milliseconds", "mymaster", "500"),
            ("failover-timeout", "mymaster", "2000"),
        )
        lines = [" ".join(("sentinel", *words)) for words in watched]
        lines += [f"requirepass {password}"] if password else []
        watcher = stack.enter_context(RedisServer(options=("--sentinel",), lines=lines))
        sentinel = stack.enter_context(Redis(port=watcher.port, password=password or None, decode_responses=True))
        wait_until(lambda: sentinel.execute_command("SENTINEL REPLICAS", "mymaster"))
        with Redis(port=replica.port) as client:
            wait_until(lambda: client.info("replication")["master_link_status"] == "up")
        url = f"redis+sentinel://127.0.0.1:{watcher.port}/mymaster/0"
        yield Sentinels(url, sentinel, primary, replica)


def _low_port() -> int:
    while (port := free_port()) > _HIGHEST_PORT:
        pass
    return port


def _is_whole(client: Redis, nodes: int) -> bool:
    state: Any = client.execute_command("CLUSTER INFO")
    return bool(state["cluster_state"] == "ok" and int(state["cluster_known_nodes"]) == nodes)
