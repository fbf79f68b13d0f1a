"""GET /buyers and /audience: who was active last, and whose list has a product."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.audience import LENGTH
from tests.helpers.redis_server import RedisServer
from tests.helpers.stack import event, stack
from twotower.events import Interaction


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


def _row(owner: dict[str, str], one: Interaction) -> dict[str, object]:
    return owner | {"product_id": one.product_id, "event_type": one.event_type, "timestamp": one.timestamp_ms}


async def test_buyers_without_guests_and_whose_list_has_a_product(tiny: Path, redis: RedisServer) -> None:
    async with stack(tiny, redis, request_timeout_seconds=30) as system:
        rows = [_row({"buyer_id": f"b{number}"}, event(f"p{number}", "Purchase", 5)) for number in range(3)]
        rows.append(_row({"session_id": "visit"}, event("p1", "View", 5)))
        assert (await system.post("/interactions", {"interactions": rows})).status_code == 200
        assert sorted((await system.answer("/buyers"))["buyer_ids"]) == ["b0", "b1", "b2"]
        found = await system.answer("/audience", product_id="p9")
        assert (found["asked"], found["length"]) == (3, LENGTH)
        # 40 products: each list has all of them
        wanted = {}
        for number in range(3):
            ids = (await system.answer("/retrieve", buyer_id=f"b{number}", k=40))["product_ids"]
            wanted[f"b{number}"] = ids.index("p9") + 1
        places = [(one["place"], one["buyer_id"]) for one in found["buyers"]]
        assert places == sorted((place, buyer) for buyer, place in wanted.items())
        assert (await system.answer("/audience", product_id="none-such"))["buyers"] == []
        assert (await system.get("/audience")).status_code == 422
