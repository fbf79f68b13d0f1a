"""Redis Cluster and Sentinel over TLS: real servers, if a redis-server at hand is built with TLS, as Debian's is."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme
from redis import Redis

from gateway.history.breaker import Breaker
from gateway.history.clock import SharedClock
from gateway.history.codec import Addition
from gateway.history.connect import connect_redis
from gateway.history.redis_client import RedisClient
from gateway.history.redis_history import RedisHistory
from gateway.settings import GatewaySettings
from tests.gateway.history.test_access import VIEW
from tests.helpers.certificates import write_identity
from tests.helpers.histories import unpack_history
from tests.helpers.redis_cluster import SLOTS, wait_until
from tests.helpers.redis_server import RedisServer, free_port, redis_binary
from twotower.errors import Unavailable

BUYERS = [f"b{place}" for place in range(8)]


def tls_binary() -> str:
    """The path of a redis-server that is built with TLS, or ""."""
    for path in filter(None, [redis_binary(), shutil.which("redis-server")]):
        # each server stops at the first line that is wrong: the second one, if it knows the first
        done = subprocess.run([path, "--tls-port", "0", "--loglevel", "none"], capture_output=True, text=True)
        if "loglevel" in done.stderr + done.stdout and "'tls-port" not in done.stderr + done.stdout:
            return path
    return ""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    binary = tls_binary()
    if not binary:
        pytest.skip("no redis-server with TLS: install Debian's, or set REDIS_SERVER to a path")
    monkeypatch.setenv("REDIS_SERVER", binary)
    return write_identity(tmp_path / "redis", trustme.CA())


@contextmanager
def tls_server(folder: Path, *options: str, lines: tuple[str, ...] = ()) -> Iterator[tuple[RedisServer, int, Redis]]:
    """A server with its port of TLS, and a client that speaks TLS with it."""
    port, files = _low(), {"cert": "tls.crt", "key": "tls.key", "ca-cert": "ca.crt"}
    tls = ["--tls-port", str(port), "--tls-auth-clients", "no", "--tls-replication", "yes", "--tls-cluster", "yes"]
    tls += [word for name, file in files.items() for word in (f"--tls-{name}-file", str(folder / file))]
    with (
        RedisServer(_low(), [*options, *tls], lines) as server,
        Redis(port=port, ssl=True, ssl_ca_certs=str(folder / "ca.crt"), decode_responses=True) as client,
    ):
        yield server, port, client


def _low() -> int:
    while (port := free_port()) > 55_000:
        pass
    return port


def connect(url: str) -> RedisHistory:
    # a busy machine takes longer for a handshake than the default
    settings = GatewaySettings(redis_url=url, redis_timeout_seconds=5.0, redis_connect_timeout_seconds=5.0)
    return RedisHistory(RedisClient(connect_redis(settings), Breaker("Redis", 0.05)), 50, SharedClock())


async def check(url: str, folder: Path) -> None:
    """Writes and reads through this URL, with the authority's certificate; without it, nothing is answered."""
    history = connect(f"{url}?ssl_ca_certs={folder / 'ca.crt'}")
    try:
        assert await history.add([Addition(buyer, VIEW) for buyer in BUYERS]) == [1] * len(BUYERS)
        found = await history.read(BUYERS)
        assert [unpack_history(str(one)) for one in found] == [VIEW] * len(BUYERS)
    finally:
        await history.close()
    stranger = connect(url)
    with pytest.raises(Unavailable):
        await stranger.read(BUYERS)
    await stranger.close()


async def test_a_cluster_over_tls(folder: Path) -> None:
    with ExitStack() as stack:
        options = ("--cluster-enabled", "yes", "--appendonly", "no")
        nodes = [stack.enter_context(tls_server(folder, *options)) for _ in range(2)]
        for place, (_, _, client) in enumerate(nodes):
            client.execute_command("CLUSTER SET-CONFIG-EPOCH", place + 1)
            client.execute_command("CLUSTER ADDSLOTS", *range(SLOTS * place // 2, SLOTS * (place + 1) // 2))
        port = nodes[0][1]
        nodes[1][2].execute_command("CLUSTER MEET", "127.0.0.1", port, port + 10_000)

        def is_whole(of: Redis) -> bool:
            state: Any = of.execute_command("CLUSTER INFO")
            return bool(state["cluster_state"] == "ok" and int(state["cluster_known_nodes"]) == 2)

        for _, _, one in nodes:
            wait_until(lambda one=one: is_whole(one))
        await check(f"rediss+cluster://127.0.0.1:{port}", folder)
        # the buyers stand on both nodes
        assert all(client.dbsize() for _, _, client in nodes)


def _master(sentinel: Redis) -> dict[str, Any]:
    state: Any = sentinel.execute_command("SENTINEL MASTER", "mymaster")
    return dict(state)


async def test_a_sentinel_over_tls(folder: Path) -> None:
    with tls_server(folder, "--appendonly", "no") as (_, port, client):
        lines = (f"sentinel monitor mymaster 127.0.0.1 {port} 1", "sentinel down-after-milliseconds mymaster 500")
        with tls_server(folder, "--sentinel", lines=lines) as (_, watcher, sentinel):
            wait_until(lambda: _master(sentinel)["is_disconnected"] is False)
            await check(f"rediss+sentinel://127.0.0.1:{watcher}/mymaster/0", folder)
            assert client.dbsize()
