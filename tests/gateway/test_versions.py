"""One answer is of one version: replicas that hold different ones, and versions that swap while requests run."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from gateway.pipeline.versions import on_one_version
from tests.helpers.redis_server import RedisServer
from tests.helpers.services import running, until
from tests.helpers.stack import Reference, as_json, check_list, event, gateway, stack
from tests.helpers.tiny_version import build_version, publish_version
from twotower.errors import Unavailable, VersionNotHeld

HISTORY = [event("p4", "View", 30), event("p8", "AddToCart", 20), event("p12", "Purchase", 10)]
BODY = {"buyer_id": "b", "recent_interactions": as_json(HISTORY)}


def build(folder: Path, *names: str) -> Path:
    """Versions of different towers, published one after the other: the last is CURRENT, the one before PREVIOUS."""
    for name in names:
        build_version(folder, name, seed=ord(name), encoder_seed=ord(name))
    return folder


async def test_a_buyer_service_ahead_of_the_index_is_asked_for_the_version_that_both_hold(tmp_path: Path) -> None:
    old, new = build(tmp_path / "old", "a"), build(tmp_path / "new", "a", "b")
    with RedisServer() as redis:
        async with (
            running("retrieval", old) as retrieval,
            running("buyer", new) as buyer,
            running("item", new) as item,
            gateway(
                redis_url=redis.url,
                retrieval_address=retrieval.address,
                buyer_address=buyer.address,
                item_address=item.address,
            ) as client,
        ):
            assert (await client.post("/encode_buyer", json=BODY)).json()["model_version"] == "b"
            found = (await client.get("/retrieve", params={"buyer_id": "b", "include": "products"})).json()
            assert (found["model_version"], found["source"]) == ("a", "model")
            reference = Reference(old, "a")
            check_list(found, reference.best(reference.buyer(HISTORY), 10))
            searched = await client.get("/search", params={"q": "خاتم"})
            assert (searched.status_code, searched.json()["model_version"]) == (200, "a")


async def test_an_index_ahead_of_the_buyer_service(tmp_path: Path) -> None:
    old, new = build(tmp_path / "old", "a"), build(tmp_path / "new", "a", "b")
    with RedisServer() as redis:
        async with (
            running("retrieval", new) as retrieval,
            running("buyer", old) as buyer,
            gateway(redis_url=redis.url, retrieval_address=retrieval.address, buyer_address=buyer.address) as client,
        ):
            await client.post("/encode_buyer", json=BODY)
            found = (await client.get("/retrieve", params={"buyer_id": "b"})).json()
            assert (found["model_version"], found["source"]) == ("a", "model")
            # what needs the index alone is of its own current version
            assert (await client.get("/similar", params={"product_id": "p1"})).json()["model_version"] == "b"


async def test_services_without_a_common_version_cannot_answer(tmp_path: Path) -> None:
    one, other = build(tmp_path / "one", "a"), build(tmp_path / "other", "b")
    with RedisServer() as redis:
        async with (
            running("retrieval", one) as retrieval,
            running("buyer", other) as buyer,
            gateway(redis_url=redis.url, retrieval_address=retrieval.address, buyer_address=buyer.address) as client,
        ):
            await client.post("/encode_buyer", json=BODY)
            response = await client.get("/retrieve", params={"buyer_id": "b"})
            assert response.status_code == 503
            assert response.headers["retry-after"] == "1"
            assert "no model version in common" in response.json()["detail"]
            popular = (await client.get("/retrieve", params={"buyer_id": "nobody"})).json()
            assert (popular["source"], popular["model_version"]) == ("popular", "a")


async def test_versions_that_swap_while_requests_run_fail_none_and_mix_none(tmp_path: Path) -> None:
    folder = build(tmp_path, "a", "b", "c")
    references = {name: Reference(folder, name) for name in "abc"}
    histories = {
        f"b{number}": [event(f"p{number}", "View", 5), event(f"p{number + 9}", "Purchase")] for number in range(8)
    }
    seen: list[str] = []
    done = asyncio.Event()
    with RedisServer() as redis:
        async with stack(folder, redis) as system:
            for buyer, history in histories.items():
                await system.post("/encode_buyer", {"buyer_id": buyer, "recent_interactions": as_json(history)})

            async def ask(buyer: str, history: list[object]) -> None:
                while not done.is_set():
                    response = await system.get("/retrieve", buyer_id=buyer, k=5, include="products")
                    assert response.status_code == 200, response.text
                    found = response.json()
                    assert found["source"] == "model"
                    reference = references[found["model_version"]]
                    check_list(found, reference.best(reference.buyer(history), 5))  # type: ignore[arg-type]
                    encoded = await system.post(
                        "/encode_buyer",
                        {"buyer_id": f"{buyer}-other", "recent_interactions": as_json(history)},  # type: ignore[arg-type]
                    )
                    vector = references[encoded.json()["model_version"]].buyer(history)  # type: ignore[arg-type]
                    np.testing.assert_allclose(encoded.json()["buyer_embedding"], vector, atol=1e-5)
                    seen.append(found["model_version"])

            asking = [asyncio.create_task(ask(buyer, history)) for buyer, history in histories.items()]
            for name in "abcacbab":
                publish_version(folder, name)
                start = len(seen)

                def swapped(name: str = name, start: int = start) -> bool:
                    if failed := [one for one in asking if one.done()]:
                        failed[0].result()
                    return name in seen[start:] and len(seen) > start + 20

                await until(swapped)
            done.set()
            await asyncio.gather(*asking)
    assert set(seen) == {"a", "b", "c"}


class Services:
    """An index and a tower that hold these versions, the first of each being their current one."""

    def __init__(self, tower: str, index: str) -> None:
        self.tower, self.index = list(tower), list(index)
        self.attempts: list[str] = []

    async def attempt(self, version: str) -> str:
        self.attempts.append(version)
        made = version or self.tower[0]
        for held in (self.tower, self.index):
            if made not in held:
                raise VersionNotHeld(made, held)
        return made


@pytest.mark.parametrize(
    ("tower", "index", "answer", "attempts"),
    [
        ("a", "a", "a", [""]),
        ("ba", "a", "a", ["", "a"]),
        ("a", "ba", "a", [""]),
        ("ba", "ab", "b", [""]),
        ("cb", "ab", "b", ["", "a", "b"]),
    ],
)
async def test_the_version_that_is_settled_on(tower: str, index: str, answer: str, attempts: list[str]) -> None:
    services = Services(tower, index)
    assert await on_one_version(services.attempt) == answer
    assert services.attempts == attempts


async def test_replicas_of_one_service_that_hold_different_versions_are_asked_for_the_common_one() -> None:
    """The first tower is one swap behind and the first index ahead; the second ones are the other way round."""
    asked: list[str] = []
    replicas = {"tower": iter(["ac", "dbc", "ac", "bac"]), "index": iter(["dbc", "bac", "dbc"])}

    def ask(service: str, version: str) -> str:
        held = next(replicas[service])
        made = version or held[0]
        if made not in held:
            raise VersionNotHeld(made, list(held))
        return made

    async def attempt(version: str) -> str:
        asked.append(version)
        return ask("index", ask("tower", version))

    assert await on_one_version(attempt) == "c"
    assert asked == ["", "d", "b", "c"]


@pytest.mark.parametrize(("tower", "index"), [("b", "a"), ("dc", "ab")])
async def test_none_is_settled_on_where_none_is_common(tower: str, index: str) -> None:
    services = Services(tower, index)
    with pytest.raises(Unavailable, match="no model version in common"):
        await on_one_version(services.attempt)
    assert len(services.attempts) <= 3
