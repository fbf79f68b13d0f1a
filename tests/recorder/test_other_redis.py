"""The event log in a Redis cluster, and for users with few rights."""

from __future__ import annotations

from pathlib import Path

import pytest
from redis import Redis

from recorder.drain import Recorder
from recorder.files import LogFolder
from recorder.settings import RecorderSettings
from recorder.source import connect_redis
from tests.helpers.event_log import rows
from tests.helpers.processes import ROOT
from tests.helpers.redis_cluster import running_cluster
from tests.helpers.redis_server import RIGHTS, RedisServer
from tests.helpers.stack import stack
from twotower.errors import Unavailable

GATEWAY = "+xadd +memory|usage"
RECORDER = "~twotower:log:1 +xreadgroup +xgroup|create +xack +xtrim +xlen +multi +exec"
EVENT = {"product_id": "p1", "event_type": "View", "timestamp": "2025-01-01T12:00:00Z"}


def drain(url: str, artifacts: Path) -> list[str]:
    """Records all there is, and returns the event ids of the log."""
    settings = RecorderSettings(artifacts=artifacts, redis_url=url, flush_seconds=0.001)
    recorder = Recorder(connect_redis(url, 5.0), LogFolder(settings.layout.log), settings)
    for _ in range(3):
        recorder.step()
    assert recorder._source.waiting() == 0
    return [row["event_id"] for row in rows(settings.layout.log, "interactions")]


async def test_in_a_cluster_buyers_of_all_nodes_are_in_one_log(tiny: Path, tmp_path: Path) -> None:
    with running_cluster() as nodes:
        url = "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in nodes)
        async with stack(tiny, RedisServer(), event_log=True, redis_url=url) as system:
            events = [{**EVENT, "buyer_id": f"b{number}", "event_id": f"e{number}"} for number in range(20)]
            answer = await system.post("/interactions", {"interactions": events})
            assert answer.json()["stored"] == 20, answer.text
            await system.post("/interactions", {**EVENT, "session_id": "s", "event_id": "guest"})
            assert (await system.post("/buyers/b1/merge", {"session_id": "s"})).json()["merged"] == 1
            dismissed = {**EVENT, "buyer_id": "b2", "event_type": "Dismiss", "event_id": "no"}
            assert (await system.post("/interactions", dismissed)).json()["stored"] == 1
            assert "p1" not in (await system.answer("/retrieve", buyer_id="b2", k=40))["product_ids"]
        assert drain(url, tmp_path) == [*(f"e{number}" for number in range(20)), "guest", "no"]
    with pytest.raises(Unavailable):
        drain(url, tmp_path)


async def test_users_need_no_more_than_the_documented_rights(tiny: Path, tmp_path: Path) -> None:
    shown = " ".join((ROOT / "docs" / "operations.md").read_text(encoding="utf-8").split())
    assert GATEWAY in shown and RECORDER in shown
    with RedisServer() as server, Redis(port=server.port) as raw:
        for name, rights in (("shop", f"{RIGHTS} {GATEWAY}"), ("recorder", RECORDER)):
            raw.execute_command("ACL", "SETUSER", name, "reset", "on", ">x", *rights.split())
        url = f"redis://shop:x@127.0.0.1:{server.port}/0"
        async with stack(tiny, server, event_log=True, redis_url=url) as system:
            answer = await system.post("/interactions", {**EVENT, "buyer_id": "b", "event_id": "e"})
            assert answer.status_code == 200, answer.text
            assert (await system.get("/readyz")).json()["dependencies"]["event log"] == "ok"
        assert drain(f"redis://recorder:x@127.0.0.1:{server.port}/0", tmp_path) == ["e"]
