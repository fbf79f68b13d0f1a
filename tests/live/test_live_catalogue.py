"""Changes of products through the gateway's API, with real services and a real Redis: two replicas of retrieval."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
import pytest_asyncio
from redis import Redis

from benchmarks.simulate.processes import ShopProcesses
from benchmarks.simulate.world import World
from demo.client import Client
from tests.helpers.redis_server import RedisServer
from tests.helpers.services import running, until
from tests.helpers.stack import Reference, gateway
from tests.helpers.tiny_version import build_version
from twotower.live.records import CHANGES, HEAD, PRODUCTS, VECTORS
from twotower.pb import retrieval_pb2, retrieval_pb2_grpc

pytestmark = pytest.mark.asyncio(loop_scope="module")

RING = {
    "title": "خلخال زمرد",
    "description": "",
    "brand": "دار زمرد",
    "category": "مجوهرات",
    "price": 950.0,
    "currency": "SAR",
}


@dataclass
class Shop:
    """A gateway over two retrieval replicas, and the replicas one by one."""

    client: httpx.AsyncClient
    redis: RedisServer
    artifacts: Path
    replicas: list[Any]
    exits: AsyncExitStack
    stops: list[Any] = field(default_factory=list)

    async def put(self, product_id: str, **fields: Any) -> int:
        answer = await self.client.put(f"/products/{product_id}", json={**RING, **fields})
        assert answer.status_code == 200, answer.text
        return int(answer.json()["sequence"])

    async def patch(self, product_id: str, **fields: Any) -> None:
        answer = await self.client.patch(f"/products/{product_id}", json=fields)
        assert answer.status_code == 200, answer.text

    async def delete(self, product_id: str) -> None:
        answer = await self.client.delete(f"/products/{product_id}")
        assert answer.status_code == 200, answer.text

    async def ids(self, path: str, **query: Any) -> list[str]:
        answer = await self.client.get(path, params={"k": 200, **query})
        assert answer.status_code == 200, answer.text
        return list(answer.json()["product_ids"])

    async def looked_up(self, product_id: str) -> list[retrieval_pb2.Product]:
        """The product as each replica has it."""
        request = retrieval_pb2.LookupRequest(product_ids=[product_id])
        return [(await stub.Lookup(request)).products[0] for stub in self.replicas]

    async def knowing(self, product_id: str) -> list[bool]:
        """Whether each replica has a vector of it."""
        request = retrieval_pb2.VectorsRequest(product_ids=[product_id])
        return [not (await stub.Vectors(request)).unknown_product_ids for stub in self.replicas]

    async def shown(self, product_id: str) -> None:
        await until(lambda: self.knowing(product_id), all)

    async def not_shown(self, product_id: str) -> None:
        await until(lambda: self.looked_up(product_id), lambda found: not any(one.found for one in found))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shop]:
    artifacts = tmp_path_factory.mktemp("live") / "artifacts"
    build_version(artifacts, "live-a")
    with RedisServer(options=["--appendonly", "yes", "--appendfsync", "always"]) as redis:
        redis.mark_loaded()
        async with AsyncExitStack() as exits:
            item = await exits.enter_async_context(running("item", artifacts))
            followed = {"catalogue_url": redis.url, "catalogue_limit": 5}
            buyer = await exits.enter_async_context(running("buyer", artifacts, **followed))
            replicas = [await exits.enter_async_context(running("retrieval", artifacts, **followed)) for _ in range(2)]
            addresses = ",".join(one.address for one in replicas)
            channels = [await exits.enter_async_context(grpc.aio.insecure_channel(one.address)) for one in replicas]
            client = await exits.enter_async_context(
                gateway(
                    redis_url=redis.url,
                    item_address=item.address,
                    buyer_address=buyer.address,
                    retrieval_address=f"ipv4:{addresses}",
                    live_catalogue=True,
                    event_types=("View", "AddToCart", "Purchase"),
                )
            )
            stubs = [retrieval_pb2_grpc.RetrievalServiceStub(one) for one in channels]
            yield Shop(client, redis, artifacts, stubs, exits)


async def test_a_new_product_is_found_on_every_replica_by_vector_word_and_filter(shop: Shop) -> None:
    number = await shop.put("n1")
    await shop.shown("n1")
    raw = Redis(port=shop.redis.port)
    assert raw.hget(PRODUCTS, "n1").startswith(b"%d " % number)  # type: ignore[union-attr]
    for _ in range(4):
        assert (await shop.ids("/search", q="خلخال زمرد", k=3))[0] == "n1"
        assert "n1" in await shop.ids("/similar", product_id="p0")
        assert await shop.ids("/popular", brand="دار زمرد") == ["n1"]
    assert "n1" in await shop.ids("/retrieve", buyer_id="nobody", category="مجوهرات")
    answer = await shop.client.get("/search", params={"q": "خلخال", "brand": "دار زمرد", "include": "products"})
    product = answer.json()["products"][0]
    assert {name: product[name] for name in ("title", "price", "brand")} == {
        name: RING[name] for name in ("title", "price", "brand")
    }
    assert answer.json()["warnings"] == []


async def test_the_vectors_of_a_live_product_are_those_of_the_item_tower(shop: Shop) -> None:
    """A product of the catalogue under another id: the text is the same, so is the text's vector."""
    reference = Reference(shop.artifacts, "live-a")
    known = reference.products["p1"]
    await shop.put("twin", title=known.title, description=known.description, brand=known.brand, category=known.category)
    await shop.shown("twin")
    raw = Redis(port=shop.redis.port)
    value = raw.hget(f"{VECTORS}live-a", "twin")
    floats = np.frombuffer(value[16:], "<f4")  # type: ignore[index]
    np.testing.assert_allclose(floats[8:], reference.texts[1], atol=1e-5)
    # and it is searched with the same words as the product that the index has
    answer = (await shop.client.get("/search", params={"q": known.title, "k": 5, "understand": False})).json()
    scores = dict(zip(answer["product_ids"], answer["scores"], strict=True))
    # the mean length of a product comes from a sample, which here is all of them
    assert scores["twin"] == pytest.approx(scores["p1"], abs=1e-4)


async def test_a_deleted_product_is_in_no_answer(shop: Shop) -> None:
    await shop.put("gone")
    await shop.shown("gone")
    for product in ("p3", "gone"):
        title = (await shop.looked_up(product))[0].title
        await shop.delete(product)
        await shop.not_shown(product)
        for path, query in (
            ("/search", {"q": title}),
            ("/search", {"q": product}),
            ("/similar", {"product_id": "p2"}),
            ("/similar", {"product_id": "p2", "by": "sequence"}),
            ("/popular", {}),
            ("/popular", {"in_stock": "true", "sort": "price_asc"}),
            ("/retrieve", {"buyer_id": "nobody"}),
            ("/search", {"q": title, "diversity": 0.5}),
            ("/search", {"q": title, "k": 2}),
        ):
            assert product not in await shop.ids(path, **query), path
        assert (await shop.client.get("/similar", params={"product_id": product})).status_code == 404
        assert (await shop.client.patch(f"/products/{product}", json={"price": 1.0})).status_code == 404


async def test_a_hidden_product_comes_back_when_it_is_shown_again(shop: Shop) -> None:
    await shop.patch("p4", hidden=True)
    await shop.not_shown("p4")
    assert "p4" not in await shop.ids("/popular")
    await shop.patch("p4", hidden=False)
    await shop.shown("p4")
    assert "p4" in await shop.ids("/popular")


async def test_price_and_stock_are_those_of_now_in_filters_limits_and_order(shop: Shop) -> None:
    await shop.patch("p5", price=3.0, in_stock=False)
    await until(lambda: shop.looked_up("p5"), lambda found: all(one.price == 3.0 for one in found))
    assert "p5" not in await shop.ids("/popular", in_stock="true")
    assert "p5" in await shop.ids("/popular", price_max=4)
    assert (await shop.ids("/popular", price_max=20, sort="price_asc"))[0] == "p5"
    await shop.patch("p5", price=None)
    await until(lambda: shop.looked_up("p5"), lambda found: not any(one.HasField("price") for one in found))
    assert "p5" not in await shop.ids("/popular", price_max=4)


async def test_new_content_of_a_product_replaces_the_old(shop: Shop) -> None:
    await shop.patch("p6", title="مرجان أحمر نادر", brand="بيت المرجان")
    await until(lambda: shop.ids("/popular", brand="بيت المرجان"), lambda found: found == ["p6"])
    for _ in range(4):
        assert (await shop.ids("/search", q="مرجان أحمر"))[0] == "p6"
    assert (await shop.ids("/popular")).count("p6") == 1
    everything = await shop.ids("/similar", product_id="p0")
    assert len(everything) == len(set(everything))
    # the old brand, which the product no longer has
    old = Reference(shop.artifacts, "live-a").products["p6"].brand
    assert "p6" not in await shop.ids("/popular", brand=old)


async def test_each_line_is_answered_by_itself(shop: Shop) -> None:
    lines = [
        json.dumps({"product_id": "m1", **RING}),
        json.dumps({"product_id": "m2", **RING, "price": -1}),
        "{no json",
        json.dumps({"product_id": "m3", "title": "…"}),
        "",
        json.dumps({"product_id": "m4", **RING}),
    ]
    headers = {"Content-Type": "application/x-ndjson"}
    answer = await shop.client.post("/products", content="\n".join(lines), headers=headers)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["accepted"] == 2
    assert [row["status"] for row in body["rows"]] == ["accepted", "refused", "refused", "refused", "accepted"]
    assert body["rows"][1]["errors"][0]["field"] == "price"
    assert body["rows"][3]["errors"][0] == {
        "field": "title",
        "value": "'…'",
        "problem": "must hold a letter or a digit",
    }
    await shop.shown("m1")
    await shop.shown("m4")
    patches = "\n".join(
        json.dumps(one) for one in [{"product_id": "m1", "price": 7.5}, {"product_id": "no", "price": 1}]
    )
    body = (await shop.client.post("/products?mode=patch", content=patches, headers=headers)).json()
    assert [row["status"] for row in body["rows"]] == ["accepted", "refused"]
    await until(lambda: shop.looked_up("m1"), lambda found: all(one.price == 7.5 for one in found))
    assert (await shop.client.post("/products", content=lines[0])).status_code == 415
    too_long = await shop.client.post(f"/products?mode={'x' * 40_000}", content=lines[0], headers=headers)
    assert (too_long.status_code, too_long.json()["field"]) == (414, "query")


async def test_thousands_at_once_are_all_encoded(shop: Shop) -> None:
    """More than one scan of what is wanted returns."""
    ids = [f"many{number}" for number in range(3000)]
    lines = "\n".join(json.dumps({"product_id": one, "title": f"خرز {one}"}) for one in ids)
    answer = await shop.client.post("/products", content=lines, headers={"Content-Type": "application/x-ndjson"})
    assert answer.json()["accepted"] == len(ids), answer.text[:500]
    asked = retrieval_pb2.VectorsRequest(product_ids=ids, unknown_only=True)

    async def missing() -> list[str]:
        return list((await shop.replicas[0].Vectors(asked)).unknown_product_ids)

    await until(missing, lambda found: not found)
    # and out again, for the other tests
    for start in range(0, len(ids), 1000):
        hidden = "\n".join(json.dumps({"product_id": one, "hidden": True}) for one in ids[start : start + 1000])
        url, headers = "/products?mode=patch", {"Content-Type": "application/x-ndjson"}
        assert (await shop.client.post(url, content=hidden, headers=headers)).json()["accepted"]
    await shop.not_shown(ids[-1])


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("PUT", "/products/x", {"title": "خاتم", "color": "red"}, 422),
        ("PUT", "/products/x", {"brand": "a"}, 422),
        ("PUT", "/products/x", {"title": "خاتم", "price": "12"}, 422),
        ("PUT", "/products/x", {"title": "خاتم", "in_stock": 1}, 422),
        ("PATCH", "/products/p1", {}, 422),
        ("PATCH", "/products/nobody-knows", {"price": 2.0}, 404),
        ("PUT", f"/products/{'x' * 200}", RING, 422),
    ],
)
async def test_a_change_that_cannot_be_used_is_refused(
    shop: Shop, method: str, path: str, body: dict[str, Any], status: int
) -> None:
    answer = await shop.client.request(method, path, json=body)
    assert answer.status_code == status, answer.text


async def test_a_history_with_a_live_product_is_encoded(shop: Shop) -> None:
    await shop.put("n7")
    await shop.shown("n7")
    rows = [{"product_id": "n7", "event_type": "View", "timestamp": "2025-10-09T00:00:00Z"}]

    async def encoded() -> httpx.Response:
        return await shop.client.post("/encode_buyer", json={"buyer_id": "live", "recent_interactions": rows})

    answer = await until(encoded, lambda one: one.status_code == 200)
    value = Redis(port=shop.redis.port).hget(f"{VECTORS}live-a", "n7")
    # one product alone: the tiny buyer tower gives its vector
    np.testing.assert_allclose(answer.json()["buyer_embedding"], np.frombuffer(value[16:48], "<f4"), atol=1e-5)  # type: ignore[index]
    assert "n7" in await shop.ids("/retrieve", buyer_id="live")


async def test_a_gap_in_the_stream_is_filled_from_the_states(shop: Shop) -> None:
    raw = Redis(port=shop.redis.port)
    # as if so many changes had come that the stream lost this one
    raw.eval(
        "redis.call('HINCRBY', KEYS[1], 'sequence', 1) redis.call('HSET', KEYS[2], 'p8', ARGV[1])",
        2,
        HEAD,
        PRODUCTS,
        raw.hget(HEAD, "sequence").decode() + '0 {"fields":{"price":1.5},"whole":false,"hidden":false,"deleted":false}',  # type: ignore[union-attr]
    )
    await shop.patch("p9", price=2.5)
    await until(lambda: shop.looked_up("p9"), lambda found: all(one.price == 2.5 for one in found))
    await until(lambda: shop.looked_up("p8"), lambda found: all(one.price == 1.5 for one in found))


async def test_a_replica_that_starts_later_has_every_change(shop: Shop) -> None:
    await shop.put("n9", title="فيروز نيسابور")
    await shop.shown("n9")
    async with (
        running("retrieval", shop.artifacts, catalogue_url=shop.redis.url) as late,
        grpc.aio.insecure_channel(late.address) as channel,
    ):
        stub = retrieval_pb2_grpc.RetrievalServiceStub(channel)
        # at once: it does not say that it is ready before
        request = retrieval_pb2.LookupRequest(product_ids=["n9", "p3", "p9"])
        new, deleted, cheaper = (await stub.Lookup(request)).products
        assert (new.title, deleted.found, cheaper.price) == ("فيروز نيسابور", False, 2.5)
        popular = retrieval_pb2.PopularRequest(queries=[retrieval_pb2.Query(k=500)])
        assert "n9" in (await stub.Popular(popular)).hits[0].product_ids


async def test_changes_survive_redis_and_are_followed_again(shop: Shop) -> None:
    await shop.put("durable", title="كهرمان بحري")
    shop.redis.kill()
    shop.redis.start()
    raw = Redis(port=shop.redis.port)
    assert raw.hexists(PRODUCTS, "durable")
    assert raw.xlen(CHANGES)
    await shop.shown("durable")

    async def patched() -> int:
        return (await shop.client.patch("/products/durable", json={"price": 44.0})).status_code

    await until(patched, lambda status: status == 200)
    await until(lambda: shop.looked_up("durable"), lambda found: all(one.price == 44.0 for one in found))


async def test_readyz_names_a_replica_that_is_behind_and_one_that_needs_a_refresh(shop: Shop) -> None:
    raw = Redis(port=shop.redis.port)

    async def said_of_catalogue() -> str:
        return str((await shop.client.get("/readyz")).json()["dependencies"]["live catalogue"])

    # more live products than the limit of five
    await until(said_of_catalogue, lambda said: "a refresh is due" in said)
    said = json.dumps(
        {"sequence": 0, "behind_seconds": 9, "missing": 0, "live": 0, "refresh_due": False, "said_ms": 9e14}
    )
    raw.hset("twotower:{catalogue}:1:replicas", "retrieval slow:1", said)
    answer = await shop.client.get("/readyz")
    assert answer.status_code == 200
    await until(said_of_catalogue, lambda said: "retrieval slow:1 is" in said)
    raw.hdel("twotower:{catalogue}:1:replicas", "retrieval slow:1")


async def test_a_swap_keeps_what_is_live(shop: Shop) -> None:
    await shop.put("n5", title="لؤلؤ خليجي")
    await shop.shown("n5")
    build_version(shop.artifacts, "live-b", seed=3)
    seen = list[str]()

    async def swapped() -> bool:
        answer = (await shop.client.get("/search", params={"q": "لؤلؤ خليجي", "k": 3})).json()
        # before the swap and from the first answer of the new version on
        assert answer["product_ids"][0] == "n5", answer
        seen.append(answer["model_version"])
        return answer["model_version"] == "live-b"

    await until(swapped)
    assert seen[0] == "live-a"
    for stub in shop.replicas:
        vectors = await stub.Vectors(retrieval_pb2.VectorsRequest(product_ids=["n5"], model_version="live-b"))
        assert not vectors.unknown_product_ids
    assert "p3" not in await shop.ids("/popular")


async def test_a_gateway_without_a_live_catalogue_says_so(tiny: Path) -> None:
    async with gateway() as client:
        answer = await client.put("/products/p1", json=RING)
        assert answer.status_code == 501
        assert "TWOTOWER_GATEWAY_LIVE_CATALOGUE" in answer.json()["detail"]


async def test_a_picture_of_a_live_product_is_a_url(shop: Shop) -> None:
    await shop.put("pictured", image="https://pictures.shop.example/ring.png")
    await shop.shown("pictured")
    assert {one.image for one in await shop.looked_up("pictured")} == {"https://pictures.shop.example/ring.png"}
    refused = await shop.client.patch("/products/pictured", json={"image": "javascript:alert(1)"})
    assert refused.status_code == 422 and "must be a URL of http or https" in refused.json()["detail"]


async def test_products_of_the_simulated_shop_arrive(shop: Shop, tmp_path: Path) -> None:
    """As `make simulate` puts them: it goes on when the last one can be recommended."""
    world = World.build(products=60, buyers=5, days=30, seed=7)
    arriving = next(found for day in range(1, 31) if (found := world.arriving(day)))
    client = Client("127.0.0.1", shop.client.base_url.port or 80)
    await asyncio.to_thread(ShopProcesses(tmp_path).add_products, client, arriving)
    for ident in arriving:
        assert any(await shop.knowing(ident))
