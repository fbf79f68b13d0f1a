"""`python -m gateway.warm`: a version's interactions in Redis, merged with what is there."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway import warm
from gateway.history.breaker import Breaker
from gateway.history.clock import SharedClock
from gateway.history.codec import KEY_PREFIX, LOADED, LOADING, Addition, apart_key_of, key_of
from gateway.history.connect import connect_redis
from gateway.history.loader import Loaded, LoadingElsewhere, load
from gateway.history.redis_client import RedisClient
from gateway.history.redis_history import RedisHistory
from gateway.settings import GatewaySettings
from tests.helpers.histories import unpack_history
from tests.helpers.processes import process
from tests.helpers.redis_server import RedisServer
from tests.helpers.services import until
from tests.helpers.stack import NOBODY, stack
from tests.helpers.tiny_version import NOON, build_version
from twotower.artifact.layout import Layout
from twotower.artifact.version import open_version
from twotower.errors import Unavailable
from twotower.events import Interaction
from twotower.forgotten import ForgottenBuyers
from twotower.history import latest, read_recent


def connect(server: RedisServer) -> RedisHistory:
    redis = RedisClient(connect_redis(GatewaySettings(redis_url=server.url)), Breaker("Redis", 0.05))
    return RedisHistory(redis, 50, SharedClock())


def buyers_in(raw: Any) -> int:
    return len(raw.keys(KEY_PREFIX + "*"))


def history_of(server: RedisServer, buyer: str, add: list[Interaction] | None = None) -> list[Interaction]:
    async def ask() -> list[Interaction]:
        history = connect(server)
        if add:
            await history.add([Addition(buyer, add)])
        found = unpack_history((await history.read([buyer]))[0])
        await history.close()
        return found

    return asyncio.run(ask())


def recent(artifacts: Path, name: str) -> dict[str, list[Interaction]]:
    return dict(read_recent(open_version(Layout(artifacts), name).layout.recent))


def run(artifacts: Path, server: RedisServer, *more: str) -> int:
    return warm.main(["--artifacts", str(artifacts), "--redis", server.url, *more])


def test_every_buyer_of_the_version_is_known_afterwards(
    tiny: Path, server: RedisServer, raw: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tiny, server) == 0
    assert capsys.readouterr().out == "warmed 6 buyers with 24 interactions of version tiny-a\n"
    for buyer, interactions in recent(tiny, "tiny-a").items():
        assert history_of(server, buyer) == latest(interactions, 50)
    assert json.loads(raw.get(LOADED))["version"] == "tiny-a"
    assert raw.get(LOADING) is None


def test_warming_again_changes_nothing(tiny: Path, server: RedisServer, raw: Any) -> None:
    assert run(tiny, server) == 0
    before = {key: raw.zrange(key, 0, -1, withscores=True) for key in raw.scan_iter(KEY_PREFIX + "*")}
    assert run(tiny, server) == 0
    assert before == {key: raw.zrange(key, 0, -1, withscores=True) for key in raw.scan_iter(KEY_PREFIX + "*")}
    assert len(before) == 6


def test_newer_interactions_are_neither_lost_nor_displaced(
    tiny: Path, server: RedisServer, raw: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = [Interaction(f"p{number}", "View", NOON + number) for number in range(1, 49)]
    history_of(server, "b0", newer)
    history_of(server, "b1", newer[:1])
    assert run(tiny, server) == 0
    known = recent(tiny, "tiny-a")
    assert history_of(server, "b0") == latest([*known["b0"], *newer], 50)
    assert history_of(server, "b0")[-48:] == newer
    assert history_of(server, "b1") == [*latest(known["b1"], 50), newer[0]]
    monkeypatch.setenv("TWOTOWER_GATEWAY_HISTORY_SIZE", "48")
    assert run(tiny, server) == 0
    assert history_of(server, "b0") == newer


def test_another_version_by_name(tmp_path: Path, server: RedisServer, raw: Any) -> None:
    build_version(tmp_path, "a", buyers=2)
    build_version(tmp_path, "b", buyers=5)
    assert run(tmp_path, server, "--version", "a") == 0
    assert buyers_in(raw) == 2
    assert run(tmp_path, server) == 0
    assert buyers_in(raw) == 5


def test_more_buyers_than_one_batch(tmp_path: Path, server: RedisServer, raw: Any) -> None:
    build_version(tmp_path, "a", buyers=250)
    assert run(tmp_path, server) == 0
    assert buyers_in(raw) == 250


def test_a_folder_without_versions_is_refused(
    tmp_path: Path, server: RedisServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, server) == 2
    assert "CURRENT: publish a version first" in capsys.readouterr().err
    assert run(tmp_path, server, "--version", "absent") == 2
    assert "there is no version 'absent'" in capsys.readouterr().err


def test_a_corrupt_file_is_refused_before_anything_is_written(
    artifacts: Path, server: RedisServer, raw: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    path = open_version(Layout(artifacts), "a").layout.recent
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    assert run(artifacts, server) == 3
    assert "recent_interactions.jsonl.gz has sha256" in capsys.readouterr().err
    assert raw.keys() == []


def test_without_redis_it_fails_and_says_so(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert warm.main(["--artifacts", str(tiny), "--redis", f"redis://{NOBODY}/0"]) == 1
    assert "Redis does not answer" in capsys.readouterr().err


def test_a_setting_that_cannot_be_used_is_named(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert warm.main(["--artifacts", str(tiny), "--redis", "http://nonsense"]) == 2
    assert "TWOTOWER_GATEWAY_REDIS_URL" in capsys.readouterr().err


def test_as_a_command(tiny: Path, server: RedisServer, raw: Any) -> None:
    with process("-m", "gateway.warm", "--artifacts", str(tiny), "--redis", server.url) as command:
        assert command.finish() == 0
    assert command.lines == ["warmed 6 buyers with 24 interactions of version tiny-a"]


def test_replace_drops_what_was_stored_since(tiny: Path, server: RedisServer, raw: Any) -> None:
    newer = Interaction("p1", "View", NOON + 1)
    history_of(server, "b0", [newer])
    history_of(server, "visitor", [newer])
    assert run(tiny, server, "--replace") == 0
    assert history_of(server, "b0") == latest(recent(tiny, "tiny-a")["b0"], 50)
    assert history_of(server, "visitor") == [newer]


def test_replace_and_watch_exclude_each_other(
    tiny: Path, server: RedisServer, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run(tiny, server, "--replace", "--watch")
    assert "run --replace as a command of its own" in capsys.readouterr().err


@asynccontextmanager
async def watching(artifacts: Path, server: RedisServer) -> AsyncIterator[warm.HistoryWatch]:
    history = connect(server)
    yield warm.HistoryWatch(history, Layout(artifacts))
    await history.close()


async def test_a_redis_that_was_emptied_is_loaded_again_and_live_events_win(
    tiny: Path, server: RedisServer, raw: Any
) -> None:
    newer = Interaction("p1", "View", NOON + 1)
    known = recent(tiny, "tiny-a")
    async with watching(tiny, server) as watch:
        assert await watch.look() == Loaded("tiny-a", 6, 24, 0)
        assert await watch.look() is None
        raw.flushall()
        await asyncio.to_thread(history_of, server, "b0", [newer])
        assert await watch.look() == Loaded("tiny-a", 6, 24, 0)
        assert await asyncio.to_thread(history_of, server, "b0") == [*latest(known["b0"], 49), newer]
        assert await watch.look() is None


async def test_one_process_loads_and_the_next_one_has_nothing_to_do(tiny: Path, server: RedisServer, raw: Any) -> None:
    async with watching(tiny, server) as one, watching(tiny, server) as other:
        # a lock with an expiry: a loader that has died does not hold it for ever
        raw.set(LOADING, "another", px=60_000)
        with pytest.raises(LoadingElsewhere):
            await one.look()
        assert raw.keys() == [LOADING.encode()]
        raw.delete(LOADING)
        found = await asyncio.gather(one.look(), other.look(), return_exceptions=True)
        assert sum(isinstance(each, Loaded) for each in found) == 1
        assert [await one.look(), await other.look()] == [None, None]
        assert raw.get(LOADING) is None


async def test_a_loader_that_lost_its_lock_does_not_say_that_all_is_loaded(
    tiny: Path, server: RedisServer, raw: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = connect(server)
    add = history.add

    async def emptied_meanwhile(*given: Any, **options: Any) -> Any:
        counts = await add(*given, **options)
        raw.flushall()
        return counts

    monkeypatch.setattr(history, "add", emptied_meanwhile)
    with pytest.raises(Unavailable, match="lost the loader's lock"):
        await load(history, warm.find_version(Layout(tiny), None), ForgottenBuyers(tmp_path / "none"))
    assert raw.get(LOADED) is None
    await history.close()


async def test_a_new_version_is_loaded_and_takes_in_what_was_kept_apart(
    tmp_path: Path, server: RedisServer, raw: Any
) -> None:
    build_version(tmp_path, "a", products=40, buyers=2)
    news = Interaction("p41", "View", NOON + 1)
    history = connect(server)
    async with watching(tmp_path, server) as watch:
        assert await watch.look() is not None
        await history.add([Addition("visitor", [], [news])])
        assert raw.zcard(key_of("visitor")) == 0
        build_version(tmp_path, "b", products=50, buyers=3)
        loaded = await watch.look()
        assert loaded is not None
        assert (loaded.version, loaded.buyers, loaded.adopted) == ("b", 3, 1)
        assert (raw.zcard(key_of("visitor")), raw.zcard(apart_key_of("visitor"))) == (1, 0)
        assert await watch.look() is None
    await history.close()


async def test_a_restarted_redis_is_filled_again_without_an_operator(
    tiny: Path, server: RedisServer, tmp_path: Path
) -> None:
    """Redis keeps nothing here: the gateway says so, and the watching process loads what the version has."""
    ready = tmp_path / "ready"
    with RedisServer() as redis:
        async with stack(tiny, redis) as system:
            stop = asyncio.Event()
            settings = GatewaySettings(redis_url=redis.url, redis_retry_seconds=0.1)
            task = asyncio.create_task(warm.watch(settings, Layout(tiny), ready, stop))
            await until(ready.exists)
            redis.kill()
            await until(lambda: not ready.exists())
            popular = await system.answer("/retrieve", buyer_id="b0")
            assert popular["source"] == "popular" and popular["warnings"]
            redis.start()
            await until(ready.exists)
            found = await until(lambda: system.answer("/retrieve", buyer_id="b0"), lambda one: one["source"] == "model")
            assert found["warnings"] == []
            assert (await system.get("/readyz")).json()["status"] == "ready"
            stop.set()
            await task


async def test_a_redis_that_stays_away_is_logged_once(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its problems alternate: it does not answer, and then it is not asked again at once."""
    stop, problems = asyncio.Event(), ["Redis does not answer", "Redis is down"] * 3

    async def look(self: warm.HistoryWatch) -> None:
        if not problems:
            stop.set()
            return
        raise Unavailable(problems.pop(0))

    monkeypatch.setattr(warm.HistoryWatch, "look", look)
    monkeypatch.setattr(warm, "_WATCH_SECONDS", 0.001)
    await warm.watch(GatewaySettings(), Layout(tiny), None, stop)
    logged = [one.getMessage() for one in caplog.records if one.name == "gateway.warm"]
    assert logged == ["histories are not loaded: Redis does not answer"]


def test_watching_as_a_command_stops_at_once(tiny: Path, server: RedisServer, raw: Any, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    options = ["--artifacts", str(tiny), "--redis", server.url, "--watch", "--ready-file", str(ready)]
    with process("-m", "gateway.warm", *options) as command:
        command.wait_for(lambda line: "warmed 6 buyers" in line)
        command.popen.terminate()
        assert command.finish() == 0
    assert buyers_in(raw) == 6
