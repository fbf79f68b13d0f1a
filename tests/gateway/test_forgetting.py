"""`DELETE /buyers/{id}`: the history goes, and nothing brings it back."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from gateway import warm
from tests.helpers.redis_server import RedisServer
from tests.helpers.stack import stack
from tests.helpers.tiny_version import build_version
from twotower.errors import CorruptArtifact
from twotower.forgotten import ForgottenBuyers, buyer_hash, forget_buyer


async def test_a_forgotten_buyer_has_no_history_and_gets_popular_products(
    tiny: Path, server: RedisServer, raw: Any, tmp_path: Path
) -> None:
    path = tmp_path / "private" / "forgotten.txt"
    async with stack(tiny, server, forgotten_file=path) as system:
        for buyer in ("ليلى/7", "noura"):
            given = {"buyer_id": buyer, "product_id": "p1", "event_type": "View", "timestamp": "2025-01-01"}
            assert (await system.post("/interactions", given)).json()["stored"] == 1
        answers = [(await system.client.delete("/buyers/ليلى/7")) for _ in range(2)]
        assert [(one.status_code, one.json()["removed"]) for one in answers] == [(200, True), (200, False)]
        assert (await system.answer("/retrieve", buyer_id="ليلى/7"))["source"] == "popular"
        assert (await system.answer("/retrieve", buyer_id="noura"))["source"] == "model"
        empty = await system.client.delete("/buyers/%20")
        assert (empty.status_code, empty.json()["field"]) == (422, "buyer_id")
    assert path.read_text() == f"{buyer_hash('ليلى/7')}\n" * 2
    assert path.stat().st_mode & 0o777 == 0o600
    assert not [key for key in raw.scan_iter() if "ليلى" in key.decode("utf-8", "replace")]


async def test_a_removal_that_would_not_last_is_refused(tiny: Path, server: RedisServer, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for forgotten, status in ((None, 501), (tmp_path / "file" / "list", 503)):
        async with stack(tiny, server, forgotten_file=forgotten) as system:
            given = {"buyer_id": "b", "product_id": "p1", "event_type": "View", "timestamp": "2025-01-01"}
            await system.post("/interactions", given)
            assert (await system.client.delete("/buyers/b")).status_code == status
            assert (await system.answer("/retrieve", buyer_id="b"))["source"] == "model"


def test_warm_brings_no_forgotten_buyer_back(tmp_path: Path, server: RedisServer, raw: Any) -> None:
    layout = build_version(tmp_path, "a", buyers=5).layout.artifacts
    forget_buyer(layout.forgotten, "b1")
    assert warm.main(["--artifacts", str(tmp_path), "--redis", server.url]) == 0
    buyers = {key.decode().rpartition("}")[2] for key in raw.scan_iter()}
    assert "b1" not in buyers and {"b0", "b2", "b3", "b4"} <= buyers


def test_the_list_grows_from_many_writers_and_outlives_a_killed_one(tmp_path: Path) -> None:
    path = tmp_path / "list"

    async def forget_all() -> None:
        await asyncio.gather(*(asyncio.to_thread(forget_buyer, path, f"b{one}") for one in range(20)))

    asyncio.run(forget_all())
    with path.open("a") as file:
        file.write("0123")  # killed in the middle of a line
    forgotten = ForgottenBuyers.read(path)
    assert len(forgotten) == 20 and "b7" in forgotten and "b20" not in forgotten
    forget_buyer(path, "b20")
    forgotten.refresh()
    assert len(forgotten) == 21 and "b20" in forgotten and forgotten.has_hash(buyer_hash("b20"))
    path.write_text("not a hash\n")
    with pytest.raises(CorruptArtifact, match="line 1: 'not a hash' is not the hash of a buyer"):
        ForgottenBuyers.read(path)
