"""How a gateway comes to its Redis: TLS, users with few rights, IPv6, and what it says if it is not let in."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

import pytest
import trustme
from redis import Redis

from gateway import warm
from gateway.auth.keys import NewKey, add_key
from gateway.history.breaker import Breaker
from gateway.history.clock import SharedClock
from gateway.history.codec import Addition
from gateway.history.connect import connect_redis
from gateway.history.expiry import expire
from gateway.history.redis_client import RedisClient
from gateway.history.redis_history import RedisHistory
from gateway.redis_url import read_redis_url
from gateway.settings import GatewaySettings
from tests.helpers.certificates import write_identity
from tests.helpers.histories import unpack_history
from tests.helpers.processes import ROOT
from tests.helpers.redis_cluster import running_sentinel
from tests.helpers.redis_server import RIGHTS, RedisServer
from tests.helpers.stack import stack
from twotower.errors import SettingsError, Unavailable
from twotower.events import Interaction
from twotower.serving.settings import read_settings

VIEW = [Interaction("p1", "View", 1)]
ROW = {"buyer_id": "b", "product_id": "p1", "event_type": "View", "timestamp": "2025-10-09T08:00:00Z"}
PASSWORD = "kX9/3v+Qz=@#"


def connect(url: str) -> RedisHistory:
    redis = RedisClient(connect_redis(GatewaySettings(redis_url=url)), Breaker("Redis", 0.05))
    return RedisHistory(redis, 50, SharedClock())


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer(options=("--appendonly", "no", "--bind", "127.0.0.1", "::1")) as running:
        yield running


@pytest.fixture
def login(server: RedisServer) -> Iterator[str]:
    """`user:password@` of a user with the rights of the documentation; nobody comes in without a password."""
    with Redis(port=server.port) as client:
        client.flushall()
        client.execute_command("ACL", "SETUSER", "shop", "reset", "on", f">{PASSWORD}", *RIGHTS.split())
        yield f"shop:{quote(PASSWORD, safe='')}@"


@asynccontextmanager
async def tls_in_front(port: int, context: ssl.SSLContext) -> AsyncIterator[int]:
    """TLS on a free port, before a server that speaks none; returns the port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(copy(reader, inner_writer), copy(inner_reader, writer))

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        except (ConnectionError, ssl.SSLError):
            pass  # the other side has gone
        writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()


async def test_tls_with_a_certificate_of_the_given_authority(server: RedisServer, tmp_path: Path) -> None:
    authority = trustme.CA()
    folder = write_identity(tmp_path / "redis", authority)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
    async with tls_in_front(server.port, context) as port:
        history = connect(f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={folder / 'ca.crt'}")
        assert await history.add([Addition("tls", VIEW)]) == [1]
        assert unpack_history(str((await history.read(["tls"]))[0])) == VIEW
        await history.close()
        stranger = connect(f"rediss://127.0.0.1:{port}/0")
        with pytest.raises(Unavailable, match="Redis does not answer"):
            await stranger.read(["tls"])
        await stranger.close()


@pytest.mark.parametrize("kind", ["cluster", "sentinel"])
def test_clusters_and_sentinels_have_tls_and_logins_too(kind: str) -> None:
    login, query = "shop:a%2Fb@", "?ssl_ca_certs=/etc/ca.crt"
    path = "/mymaster/2" if kind == "sentinel" else ""
    more = "&sentinel_username=watch&sentinel_password=c%2Fd" if kind == "sentinel" else ""
    url = read_redis_url(f"rediss+{kind}://{login}one:7000,[::1]:7001{path}{query}{more}")
    assert url.nodes == (("one", 7000), ("::1", 7001))
    if kind == "cluster":
        options = url.cluster_options(socket_timeout=1.5)
        assert [(node.host, node.port) for node in options["startup_nodes"]] == [("one", 7000), ("::1", 7001)]
        assert (options["username"], options["password"], options["ssl"]) == ("shop", "a/b", True)
        assert (options["ssl_ca_certs"], options["socket_timeout"]) == ("/etc/ca.crt", 1.5)
        return
    pool = url.pool(socket_timeout=1.5)
    connection = pool.make_connection()
    assert (connection.username, connection.password, connection.db) == ("shop", "a/b", 2)
    assert connection.ssl_context.ca_certs == "/etc/ca.crt"
    asked = pool.sentinel_manager.sentinels[1].connection_pool.make_connection()
    assert (asked.host, asked.port, asked.username, asked.password) == ("::1", 7001, "watch", "c/d")
    assert (asked.ssl_context.ca_certs, asked.socket_timeout, asked.db) == ("/etc/ca.crt", 1.5, 0)
    assert "a/b" not in repr(url) and "c/d" not in repr(url)


async def test_a_sentinel_may_want_a_password_of_its_own() -> None:
    with running_sentinel("watched") as sentinels:
        history = connect(f"{sentinels.url}?sentinel_password=watched")
        assert await history.add([Addition("b", VIEW)]) == [1]
        await history.close()
        refused = connect(sentinels.url)
        with pytest.raises(Unavailable):
            await refused.read(["b"])
        await refused.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
async def test_a_user_with_the_documented_rights_is_enough(
    tiny: Path, tmp_path: Path, server: RedisServer, login: str, host: str
) -> None:
    """Histories, their expiry, the loader, rate limits, readiness and forgetting; by IPv6 too."""
    url, keys = f"redis://{login}{host}:{server.port}/0", tmp_path / "keys.json"
    assert await asyncio.to_thread(warm.main, ["--artifacts", str(tiny), "--redis", url]) == 0
    key = add_key(keys, NewKey("shop", ("read", "write", "admin"), "4/minute", None))
    async with stack(
        tiny, RedisServer(), redis_url=url, keys_file=keys, forgotten_file=tmp_path / "f", without=("item",)
    ) as system:
        system.client.headers["X-API-Key"] = key
        assert (await system.get("/readyz")).json()["dependencies"]["redis"] == "ok"
        assert (await system.post("/interactions", ROW)).json()["stored"] == 1
        assert (await system.answer("/retrieve", buyer_id="b"))["source"] == "model"
        assert (await system.client.delete("/buyers/b")).json()["removed"] is True
        assert (await system.get("/retrieve", buyer_id="b")).status_code == 200
        assert (await system.get("/retrieve", buyer_id="b")).status_code == 429
    with Redis(port=server.port) as client:
        assert client.keys("twotower:limits:1:*")
    clock = SharedClock(wall=lambda: 4e9)
    redis = RedisClient(connect_redis(GatewaySettings(redis_url=url)), Breaker("Redis", 0.05))
    # every history is older than that clock allows
    assert await expire(redis, clock, 90.0) == 6
    await redis.close()


@pytest.mark.parametrize(
    ("user", "words"),
    [
        ("shop:wrong@", "Redis refuses the user name or the password"),
        ("nobody:x@", "Redis refuses the user name or the password"),
        ("few:x@", "Redis' access rules (ACL) do not allow a command or a key that histories need"),
    ],
)
async def test_who_is_not_let_in_reads_why(
    server: RedisServer, login: str, user: str, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    with Redis(port=server.port) as client:
        client.execute_command("ACL", "SETUSER", "few", "reset", "on", ">x", "~other:*", "+@all")
    history = connect(f"redis://{user}127.0.0.1:{server.port}/0")
    with pytest.raises(Unavailable) as refused:
        await history.ping()
    assert str(refused.value) == words
    assert "wrong" not in caplog.text.replace("WRONGPASS", "")
    await history.close()


async def test_a_replica_is_told_in_words() -> None:
    with running_sentinel() as sentinels:
        history = connect(sentinels.replica.url)
        with pytest.raises(Unavailable, match="this Redis is a replica, which stores nothing"):
            await history.ping()
        await history.close()


@pytest.mark.parametrize(
    "url",
    [
        "redis://h/x?password=secret",
        "redis+sentinel://h/mymaster/x?sentinel_password=secret&socket_timeout=1",
        "redis+cluster://h/9?username=u&password=secret",
    ],
)
def test_no_message_shows_a_password_of_the_query(url: str) -> None:
    with pytest.raises(SettingsError) as refused:
        read_settings(GatewaySettings, "gateway", {"TWOTOWER_GATEWAY_REDIS_URL": url})
    assert "secret" not in str(refused.value)
    assert "password=..." in str(refused.value)


def test_the_documentation_shows_these_rights() -> None:
    shown = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    assert RIGHTS in " ".join(shown.split())
