"""What is bought together while the catalogue changes: deleted, sold out, rewritten and new products."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.helpers.complements import tiny_complements
from tests.helpers.redis_server import RedisServer
from tests.helpers.services import running, until
from tests.helpers.stack import gateway
from tests.helpers.tiny_version import build_version

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[httpx.AsyncClient]:
    artifacts: Path = tmp_path_factory.mktemp("live") / "artifacts"
    build_version(artifacts, "live-together", complements=tiny_complements())
    with RedisServer(options=["--appendonly", "yes", "--appendfsync", "always"]) as redis:
        redis.mark_loaded()
        async with AsyncExitStack() as exits:
            item = await exits.enter_async_context(running("item", artifacts))
            buyer = await exits.enter_async_context(running("buyer", artifacts))
            followed = {"catalogue_url": redis.url, "catalogue_limit": 5}
            retrieval = await exits.enter_async_context(running("retrieval", artifacts, **followed))
            yield await exits.enter_async_context(
                gateway(
                    redis_url=redis.url,
                    item_address=item.address,
                    buyer_address=buyer.address,
                    retrieval_address=retrieval.address,
                    live_catalogue=True,
                )
            )


async def together(client: httpx.AsyncClient, **query: Any) -> list[str]:
    answer = await client.get("/together", params={"product_id": "p0", "k": 3, **query})
    assert answer.status_code == 200, answer.text
    found: list[str] = answer.json()["product_ids"]
    return found


async def test_lists_follow_the_catalogue(client: httpx.AsyncClient) -> None:
    assert await together(client) == ["p9", "p6", "p13"]
    # sold out, as p6 and p13 are already
    assert (await client.patch("/products/p9", json={"in_stock": False})).status_code == 200
    await until(lambda: together(client, in_stock="true"), lambda found: found[0] == "p2")
    assert await together(client) == ["p9", "p6", "p13"]
    # other content: the product is the same
    changed = {"title": "بخور جديد", "price": 5.0, "currency": "SAR", "category": "عطور", "brand": "دار"}
    assert (await client.put("/products/p13", json=changed)).status_code == 200
    await until(lambda: together(client, brand="دار"), lambda found: found == ["p13"])
    assert await together(client) == ["p9", "p6", "p13"]
    assert (await together(client, sort="price_asc"))[0] == "p13"
    # gone
    assert (await client.delete("/products/p6")).status_code == 200
    await until(lambda: together(client), lambda found: found == ["p9", "p13", "p2"])
    cart = {"product_ids": ["p0", "p1", "p6"], "k": 2, "include": ["reasons"]}
    answer = (await client.post("/complete", json=cart)).json()
    assert answer["product_ids"] == ["p13", "p9"]
    assert answer["warnings"] == ["product 'p6' is not known"]
    assert (await client.get("/together", params={"product_id": "p6"})).status_code == 404


async def test_a_new_product_has_no_complements_yet(client: httpx.AsyncClient) -> None:
    new = {"title": "خلخال زمرد", "price": 950.0, "currency": "SAR", "category": "مجوهرات", "brand": "دار زمرد"}
    assert (await client.put("/products/n1", json=new)).status_code == 200

    async def asked() -> httpx.Response:
        return await client.get("/together", params={"product_id": "n1", "k": 2})

    await until(asked, lambda answer: answer.status_code == 200)
    answer = (await asked()).json()
    assert (answer["source"], len(answer["product_ids"])) == ("popular", 2)
    assert "n1" not in await together(client, product_id="n1", k=100)
