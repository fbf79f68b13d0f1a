"""/retrieve and /similar of a version with neighbours and a prior, over HTTP, against the score's definition."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
import pytest_asyncio

from tests.helpers.fused import Parts, fused_scores, tiny_parts
from tests.helpers.redis_server import RedisServer
from tests.helpers.retrieval import PRODUCTS
from tests.helpers.stack import Reference, Stack, as_json, check_list, event, stack
from tests.helpers.tiny_version import build_version
from twotower.artifact.manifest import Fusion
from twotower.events import Interaction

pytestmark = pytest.mark.asyncio(loop_scope="module")

FUSION = Fusion(vector_weight=0.5, neighbour_weight=0.8, steps=2, decay=0.5, prior_weight=0.1)
HISTORY = [event("p8", "AddToCart", 20), event("p12", "Purchase", 10), event("p3", "View", 5), event("p1", "View")]


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fused")
    build_version(folder, "fused", fusion=FUSION)
    return folder


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(artifacts: Path) -> AsyncIterator[Stack]:
    with RedisServer() as redis:
        async with stack(artifacts, redis) as running:
            yield running


@pytest.fixture
def reference(artifacts: Path) -> Reference:
    return Reference(artifacts, "fused")


@pytest.fixture
def buyer() -> str:
    return uuid4().hex


def best(reference: Reference, history: Sequence[Interaction], k: int, without: Sequence[str] = ()) -> dict[str, float]:
    """The products of highest fused score for a history, oldest first."""
    rows = [int(one.product_id[1:]) for one in history if one.product_id in reference.row][::-1]
    vector = reference.buyer(history).astype(np.float32)
    scores = fused_scores(tiny_parts(FUSION, PRODUCTS), reference.vectors, vector, rows)
    allowed = [row for row in range(40) if f"p{row}" not in without]
    return {f"p{row}": scores[row] for row in sorted(allowed, key=lambda row: (-scores[row], row))[:k]}


async def test_a_history_changes_the_answer_by_its_newest_products(
    system: Stack, reference: Reference, buyer: str
) -> None:
    lists = []
    for count in range(1, 5):
        rows = [{"buyer_id": buyer, **row} for row in as_json(HISTORY[:count])]
        await system.post("/interactions", {"interactions": rows})
        answer = await system.answer("/retrieve", buyer_id=buyer)
        check_list(answer, best(reference, HISTORY[:count], 10))
        assert (answer["source"], answer["warnings"]) == ("model", [])
        lists.append(tuple(answer["product_ids"]))
    # the vector alone would give other products
    assert lists[-1] != tuple(reference.best(reference.buyer(HISTORY), 10))
    assert len(set(lists)) == 4


async def test_unknown_products_take_no_step(system: Stack, reference: Reference, buyer: str) -> None:
    history = [*HISTORY, event("new-1", "View", -1), event("new-2", "View", -2)]
    await system.post("/encode_buyer", {"buyer_id": buyer, "recent_interactions": as_json(history)})
    check_list(await system.answer("/retrieve", buyer_id=buyer), best(reference, HISTORY, 10))


async def test_what_a_buyer_has_seen_may_be_left_out(system: Stack, reference: Reference, buyer: str) -> None:
    await system.post("/encode_buyer", {"buyer_id": buyer, "recent_interactions": as_json(HISTORY)})
    answer = await system.answer("/retrieve", buyer_id=buyer, k=40, exclude_seen="true", exclude="p20")
    check_list(answer, best(reference, HISTORY, 40, without=["p8", "p12", "p3", "p1", "p20"]))


async def test_many_buyers_at_once_get_their_own_lists(system: Stack, reference: Reference, buyer: str) -> None:
    histories = {f"{buyer}-{row}": [event(f"p{row}", "View", 1), event(f"p{39 - row}", "View")] for row in range(30)}
    for name, history in histories.items():
        await system.post("/encode_buyer", {"buyer_id": name, "recent_interactions": as_json(history)})
    answers = await asyncio.gather(*(system.answer("/retrieve", buyer_id=name, k=5) for name in histories))
    for answer, history in zip(answers, histories.values(), strict=True):
        check_list(answer, best(reference, history, 5))


async def test_a_product_is_followed_by_what_buyers_take_next(system: Stack, reference: Reference) -> None:
    following = tiny_parts(FUSION, PRODUCTS).following
    parts = Parts(Fusion(vector_weight=0.01, neighbour_weight=1, steps=1), following, np.zeros(40, np.float32))
    scores = fused_scores(parts, reference.vectors, reference.vectors[7], [7])
    others = sorted(set(range(40)) - {7}, key=lambda row: (-scores[row], row))
    followers = len(set(np.flatnonzero(following[7])) - {7})
    few, many = [
        await system.answer("/similar", product_id="p7", by="sequence", k=k) for k in (followers, followers + 2)
    ]
    check_list(few, {f"p{row}": scores[row] for row in others[:followers]})
    check_list(many, {f"p{row}": scores[row] for row in others[: followers + 2]})
    assert few["warnings"] == []
    assert many["warnings"] == [
        f"only {followers} of these products are known to follow 'p7'; the nearest by vector fill the list"
    ]
    by_vector = await system.answer("/similar", product_id="p7", by="vector", k=10)
    assert by_vector == {
        **await system.answer("/similar", product_id="p7", k=10),
        "request_id": by_vector["request_id"],
        "recommendation_id": by_vector["request_id"],
    }
    check_list(by_vector, reference.best(reference.vectors[7], 10, [f"p{row}" for row in range(40) if row != 7]))
    assert by_vector["warnings"] == []


async def test_where_nothing_is_known_to_follow_the_nearest_come_with_a_warning(
    system: Stack, reference: Reference
) -> None:
    answer = await system.answer("/similar", product_id="p5", by="sequence", k=6)
    nearest = reference.best(reference.vectors[5], 6, [f"p{row}" for row in range(40) if row != 5])
    check_list(answer, nearest)
    wanted = "none of these products is known to follow 'p5'; the nearest by vector fill the list"
    assert answer["warnings"] == [wanted]


async def test_a_version_without_neighbours_says_that_nothing_follows(tmp_path: Path) -> None:
    build_version(tmp_path, "plain")
    with RedisServer() as redis:
        async with stack(tmp_path, redis) as system:
            answer = await system.answer("/similar", product_id="p7", by="sequence", k=3)
            plain = await system.answer("/similar", product_id="p7", k=3)
    assert (answer["product_ids"], answer["scores"]) == (plain["product_ids"], plain["scores"])
    wanted = "none of these products is known to follow 'p7'; the nearest by vector fill the list"
    assert answer["warnings"] == [wanted] and plain["warnings"] == []


async def test_another_way_to_be_similar_is_refused(system: Stack) -> None:
    response = await system.get("/similar", product_id="p7", by="price")
    assert response.status_code == 422
    assert response.json()["field"] == "by" and "'vector' or 'sequence'" in response.json()["detail"]
    assert (await system.get("/similar", product_id="nobody", by="sequence")).status_code == 404


@pytest.mark.parametrize(
    ("fusion", "by_buyer"),
    [(Fusion(vector_weight=0, prior_weight=1), False), (Fusion(vector_weight=0, neighbour_weight=1, steps=1), True)],
    ids=["popularity alone", "neighbours alone"],
)
async def test_a_model_without_vectors_is_served(tmp_path: Path, fusion: Fusion, by_buyer: bool) -> None:
    build_version(tmp_path, "a", fusion=fusion)
    parts, lists = tiny_parts(fusion, PRODUCTS), []
    with RedisServer() as redis:
        async with stack(tmp_path, redis) as system:
            for row in (1, 7):
                body = {"buyer_id": f"b{row}", "recent_interactions": as_json([event(f"p{row}")])}
                await system.post("/encode_buyer", body)
                answer = await system.answer("/retrieve", buyer_id=f"b{row}", k=12)
                scores = fused_scores(parts, np.zeros((40, 8), np.float32), np.zeros(8, np.float32), [row])
                wanted = sorted(range(40), key=lambda one: (-scores[one], one))[:12]
                check_list(answer, {f"p{one}": scores[one] for one in wanted})
                lists.append(answer["product_ids"])
    assert (lists[0] != lists[1]) is by_buyer
