"""A gateway over shards answers as one over a whole service; shards that swap one after the other; lost shards."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.clients.retrieval_client import RetrievalClient
from gateway.settings import GatewaySettings
from tests.helpers.redis_server import RedisServer
from tests.helpers.retrieval import JEWELLERY
from tests.helpers.services import running, until
from tests.helpers.shards import build_sharded, shops
from tests.helpers.stack import as_json, event, gateway
from tests.helpers.tiny_version import BRANDS
from twotower.artifact.layout import Layout
from twotower.artifact.pointer import read_pointer
from twotower.artifact.store import publish

CALLS: list[tuple[str, dict[str, Any]]] = [
    ("/retrieve", {"buyer_id": "b", "k": 12}),
    ("/retrieve", {"buyer_id": "b", "k": 7, "include": ["products", "reasons"]}),
    ("/retrieve", {"buyer_id": "b", "k": 9, "diversity": 0.5, "include": "products"}),
    ("/retrieve", {"buyer_id": "b", "k": 9, "sort": "price_asc", "category": JEWELLERY}),
    ("/retrieve", {"buyer_id": "nobody", "k": 30}),
    ("/popular", {"k": 40, "brand": BRANDS[1]}),
    ("/similar", {"product_id": "p1", "k": 15, "include": ["products", "reasons"]}),
    ("/similar", {"product_id": "p39", "k": 15, "in_stock": "true"}),
    ("/similar", {"product_id": "p100"}),
    ("/search", {"q": "خاتم ذهب", "k": 20, "include": ["products", "reasons"]}),
    ("/search", {"q": "p31", "k": 5}),
    ("/together", {"product_id": "p2", "k": 20, "include": "reasons"}),
    ("/together", {"product_id": "p100"}),
    ("/trending", {"k": 5}),
    ("/again", {"buyer_id": "b"}),
]


def settings_of(address: str) -> GatewaySettings:
    values: dict[str, Any] = {"retrieval_address": address}
    return GatewaySettings(**values)


def said(answer: httpx.Response) -> tuple[int, Any]:
    """Status and body without what is another one for each request."""
    body = answer.json()
    return answer.status_code, {one: body[one] for one in body if one not in ("request_id", "recommendation_id")}


async def test_every_route_answers_as_over_a_whole_service(tmp_path: Path) -> None:
    folder = build_sharded(tmp_path / "artifacts", "a", shards=3)
    with RedisServer() as redis:
        async with (
            shops([folder] * 3, redis) as (client, _),
            running("retrieval", folder) as whole,
            running("item", folder) as item,
            running("buyer", folder) as buyer,
            gateway(
                redis_url=redis.url,
                retrieval_address=whole.address,
                item_address=item.address,
                buyer_address=buyer.address,
            ) as one,
        ):
            filled = 0
            for path, query in CALLS:
                ours, wanted = said(await client.get(path, params=query)), said(await one.get(path, params=query))
                assert ours == wanted, (path, query)
                filled += bool(wanted[1].get("product_ids"))
            assert filled >= 10
            body = {"interactions": [{**each, "buyer_id": "c"} for each in as_json([event("p39"), event("p100")])]}
            assert said(await client.post("/interactions", json=body)) == said(
                await one.post("/interactions", json=body)
            )
            rules = {"product_ids": ["p3", "p38"], "k": 8}
            assert said(await client.post("/complete", json=rules)) == said(await one.post("/complete", json=rules))


async def test_no_answer_is_of_a_version_that_some_shard_does_not_hold(tmp_path: Path) -> None:
    """The first shard has swapped from a to b; the other one does so while requests run."""
    ahead, behind = build_sharded(tmp_path / "ahead", "a", "b"), build_sharded(tmp_path / "behind", "a")
    with RedisServer() as redis:
        async with shops([ahead, behind], redis) as (client, _):

            async def versions() -> set[str]:
                found = set[str]()
                for path, query in CALLS:
                    answer = await client.get(path, params=query)
                    assert answer.status_code in (200, 404), answer.text
                    found.add(answer.json().get("model_version", ""))
                return found - {""}

            assert await versions() == {"a"}
            seen = set[str]()

            async def ask() -> bool:
                now = await versions()
                seen.update(now)
                return now == {"b"}

            await asyncio.to_thread(build_sharded, tmp_path / "behind", "b")
            await until(ask)
            assert seen <= {"a", "b"}
            # and back
            for folder in (ahead, behind):
                publish(Layout(folder), "a")
            await until(versions, lambda now: now == {"a"})


async def test_a_missing_shard_refuses_every_list_and_is_named(tmp_path: Path) -> None:
    folder = build_sharded(tmp_path / "artifacts", "a")
    with RedisServer() as redis:
        async with shops([folder] * 2, redis) as (client, shards):
            shards[1].stop.set()
            await shards[1].task
            answer = await client.get("/popular")
            assert answer.status_code == 503
            problem = answer.json()
            assert problem["missing_shards"] == [1] and answer.headers["retry-after"] == "1"
            assert problem["detail"] == "shard 1 of 2 of the retrieval service cannot be reached"
            for path, query in (("/retrieve", {"buyer_id": "b"}), ("/similar", {"product_id": "p1"})):
                assert (await client.get(path, params=query)).status_code == 503
            ready = await client.get("/readyz")
            assert ready.status_code == 503 and ready.json()["dependencies"]["retrieval shard 0"] == "ok"


async def test_without_a_shard_the_others_answer_with_a_warning_if_that_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 40 products the first shard holds p0 to p19."""
    asked, popular = list[str](), RetrievalClient.popular

    def note(self: RetrievalClient, *arguments: Any) -> Any:
        asked.append(self._name)
        return popular(self, *arguments)

    monkeypatch.setattr(RetrievalClient, "popular", note)
    folder = build_sharded(tmp_path / "artifacts", "a")
    warning = "a part of the catalogue cannot be reached: shard 1"
    with RedisServer() as redis:
        async with shops([folder] * 2, redis, missing_shard="degrade") as (client, shards):
            assert (await client.get("/popular", params={"k": 40})).json()["warnings"] == []
            shards[1].stop.set()
            await shards[1].task
            calls: list[tuple[str, dict[str, Any]]] = [
                ("/popular", {"k": 40}),
                ("/retrieve", {"buyer_id": "b", "k": 40, "include": "reasons"}),
                ("/similar", {"product_id": "p1", "k": 40}),
                ("/search", {"q": "خاتم", "k": 40}),
                ("/together", {"product_id": "p30", "k": 40, "include": "reasons"}),
            ]
            for path, query in calls:
                answer = await client.get(path, params=query)
                assert answer.status_code == 200, answer.text
                found = answer.json()
                assert warning in found["warnings"], path
                assert found["product_ids"] and {int(one[1:]) for one in found["product_ids"]} <= set(range(20)), path
            # nobody can say whether there is such a product
            lost = await client.get("/similar", params={"product_id": "p30"})
            assert (lost.status_code, lost.json()["missing_shards"]) == (503, [1])
            ready = await client.get("/readyz")
            assert (ready.status_code, ready.json()["dependencies"]["retrieval"]) == (200, "ok")
            assert any(one.startswith("retrieval shard 1") for one in ready.json()["degraded"])

            async def asks() -> list[str]:
                asked.clear()
                assert (await client.get("/popular")).json()["warnings"] == [warning]
                return sorted(set(asked))

            # no list waits for the retries of a shard without a replica
            await until(asks, lambda shards: shards == ["retrieval shard 0"])
            again = running(
                "retrieval", folder, shard_index=1, shard_count=2, port=int(shards[1].address.split(":")[1])
            )
            async with again:
                await until(lambda: warnings_of(client), lambda warnings: not warnings)
                whole = (await client.get("/popular", params={"k": 40})).json()["product_ids"]
                assert {int(one[1:]) for one in whole} == set(range(40))
            exposed = (await client.get("/metrics")).text
            assert 'twotower_shards_missing_total{shard="1"}' in exposed
            shards[0].stop.set()
            await shards[0].task
            assert (await client.get("/popular")).json()["missing_shards"] == [0, 1]
            assert (await client.get("/readyz")).status_code == 503


def pointers(folder: Path) -> tuple[str, str]:
    """The versions that CURRENT and PREVIOUS name."""
    current, previous = read_pointer(Layout(folder).current), read_pointer(Layout(folder).previous)
    assert current is not None and previous is not None
    return current.version, previous.version


async def listed(client: httpx.AsyncClient) -> dict[str, tuple[str | None, str | None]]:
    """Pointer and problem of every version."""
    answer = (await client.get("/versions")).json()
    assert answer["may_publish"]
    return {one["version"]: (one["pointer"], one["problem"]) for one in answer["versions"]}


async def test_a_version_is_published_only_if_every_shard_can_load_it(tmp_path: Path) -> None:
    """Shards with a folder each: the first one serves c, the other one lacks it, and b is damaged there."""
    ahead, behind = build_sharded(tmp_path / "ahead", "b", "a", "c"), build_sharded(tmp_path / "behind", "b", "a")
    damaged = Layout(behind).version("b").embeddings
    content = damaged.read_bytes()
    damaged.write_bytes(content[:-1])
    with RedisServer() as redis:
        async with shops([ahead, behind], redis, may_publish=True) as (client, shards):
            found = await listed(client)
            assert found["a"] == ("PREVIOUS", None)
            assert found["b"] == (
                None,
                f"shard 1 of 2: {damaged} has {len(content) - 1} bytes, its manifest says {len(content)}",
            )
            assert found["c"] == (None, "shard 1 of 2: there is no version 'c'")
            assert "is for 1 shards" in found["base-a"][1] and found["base-a"][1].count("of 2: version") == 2

            async def refused(version: str) -> tuple[int, str]:
                answer = await client.post(f"/versions/{version}/publish")
                assert (pointers(ahead), pointers(behind)) == (("c", "a"), ("a", "b"))
                return answer.status_code, answer.json()["detail"]

            assert await refused("c") == (409, f"shard 1 of 2: there is no version 'c' in {Layout(behind).versions}")
            # the same size, and other content
            damaged.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
            status, words = await refused("b")
            assert status == 409 and words.startswith("shard 1 of 2: ") and "sha256" in words
            assert (await refused("base-a"))[0] == 409
            assert (await refused("none"))[0] == 404
            # one that a shard does not hold is asked for in vain
            answer = await client.get("/versions/c/retrieve", params={"buyer_id": "b"})
            assert answer.status_code == 503
            assert answer.json()["detail"] == "model version 'c' is not held by shard 1 of 2; held: a"
            damaged.write_bytes(content)
            assert (await client.post("/versions/b/publish")).json()["published"] == "b"
            assert (pointers(ahead), pointers(behind)) == (("b", "c"), ("b", "a"))
            await until(lambda: versions_of(client), lambda now: now == "b")
            shards[1].stop.set()
            await shards[1].task
            answer = await client.post("/versions/a/publish")
            assert (answer.status_code, answer.json()["missing_shards"]) == (503, [1])
            assert pointers(ahead) == ("b", "c")
            assert (await listed(client))["b"] == ("CURRENT", "shard 1 of 2 of the retrieval service cannot be reached")
            assert (await client.get("/map")).json()["model_version"] == "b"


async def warnings_of(client: httpx.AsyncClient) -> list[str]:
    """The warnings beside the popular products."""
    return list((await client.get("/popular")).json()["warnings"])


async def versions_of(client: httpx.AsyncClient) -> str:
    """The version of the popular products, "None" while there is none that both shards hold."""
    return str((await client.get("/popular")).json().get("model_version"))


async def test_shards_with_one_folder_publish_once(tmp_path: Path) -> None:
    folder = build_sharded(tmp_path / "artifacts", "a", "b")
    with RedisServer() as redis:
        async with shops([folder] * 2, redis, may_publish=True) as (client, _):
            assert (await listed(client))["a"] == ("PREVIOUS", None)
            assert (await client.post("/versions/a/publish")).json()["published"] == "a"
            assert pointers(folder) == ("a", "b")
            await until(lambda: versions_of(client), lambda now: now == "a")


@pytest.mark.parametrize("address", ["a:1;", ";a:1", "a:1;;b:1", "a:1;::1:5"])
def test_an_address_of_shards_that_cannot_be_used_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match=r"retrieval_address\n.*(empty|brackets)"):
        settings_of(address)


def test_addresses_of_shards_are_separated_by_semicolons() -> None:
    settings = settings_of("a:1; ipv4:127.0.0.1:1,127.0.0.1:2")
    assert settings.shard_addresses == ["a:1", "ipv4:127.0.0.1:1,127.0.0.1:2"]
