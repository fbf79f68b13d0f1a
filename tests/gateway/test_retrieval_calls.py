"""How often a request calls the retrieval service: a search once, whatever its answer shows."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.helpers.redis_server import RedisServer
from tests.helpers.stack import Stack, stack
from twotower.serving.telemetry import CALL_ROWS

pytestmark = pytest.mark.asyncio(loop_scope="module")
METHODS = ("Search", "Lookup", "Vectors", "Popular")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tiny: Path) -> AsyncIterator[Stack]:
    with RedisServer() as redis:
        async with stack(tiny, redis, without=("buyer",)) as running:
            yield running


@pytest.mark.parametrize(
    ("path", "subject", "rows"),
    [
        ("/search", {"q": "خاتم ذهب"}, {"Search": 1}),
        ("/search", {"q": "SKU-0012"}, {"Search": 1}),
        # the product asked for is looked up for its title
        ("/similar", {"product_id": "p1"}, {"Vectors": 1, "Search": 1, "Lookup": 1}),
        ("/popular", {}, {"Popular": 1}),
    ],
)
async def test_a_list_with_products_and_reasons_needs_no_second_look(
    system: Stack, path: str, subject: dict[str, str], rows: dict[str, int]
) -> None:
    before = {name: CALL_ROWS.labels(name)._value.get() for name in METHODS}
    answer = await system.answer(path, **subject, k=7, include=["products", "reasons"])
    assert [one["product_id"] for one in answer["products"]] == answer["product_ids"]
    assert len(answer["reasons"]) == 7
    after = {name: CALL_ROWS.labels(name)._value.get() - before[name] for name in METHODS}
    assert {name: count for name, count in after.items() if count} == rows
