"""The call Together: batches, versions without a table, and what is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.helpers.complements import tiny_complements
from tests.helpers.retrieval import Stub, query
from tests.helpers.services import running
from tests.helpers.tiny_version import build_version
from twotower.errors import InvalidInput
from twotower.pb import retrieval_pb2
from twotower.serving import wire
from twotower.serving.client import call, connect


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Stub]:
    build_version(tmp_path, "a", complements=tiny_complements())
    async with running("retrieval", tmp_path, max_batch=3) as found, connect(found.address) as channel:
        yield Stub(channel)


async def together(stub: Stub, *carts: list[str], k: int = 2, version: str = "") -> list[retrieval_pb2.TogetherHits]:
    queries = [retrieval_pb2.TogetherQuery(query=query(k), product_ids=cart) for cart in carts]
    request = retrieval_pb2.TogetherRequest(queries=queries, model_version=version)
    answer = await call(stub.Together, request, 30, "retrieval service")
    return list(answer.hits)


async def test_each_cart_of_a_batch_has_its_own_answer(service: Stub) -> None:
    one, two, three = await together(service, ["p0"], ["p1", "nobody"], ["p7"])
    assert list(one.hits.product_ids) == ["p9", "p6"]
    assert wire.unpack_scores(one.hits.scores).tolist() == [5.0, 4.0]
    assert (list(one.because), list(one.is_known)) == ([0, 0], [True, True])
    assert list(two.hits.product_ids) == ["p13", "p0"] and list(two.unknown_product_ids) == ["nobody"]
    # p3 and p4 are the most popular
    assert list(three.hits.product_ids) == ["p3", "p4"]
    assert (list(three.because), list(three.is_known)) == ([-1, -1], [False, False])


async def test_the_whole_catalogue_but_the_cart_may_be_asked_for(service: Stub) -> None:
    (hits,) = await together(service, ["p0", "p1"], k=1000)
    assert len(hits.hits.product_ids) == len(set(hits.hits.product_ids)) == 38
    assert not {"p0", "p1"} & set(hits.hits.product_ids)


async def test_a_version_without_a_table_has_popular_products(stub: Stub) -> None:
    (hits,) = await together(stub, ["p0"])
    assert list(hits.hits.product_ids) == ["p3", "p4"] and list(hits.because) == [-1, -1]


async def test_what_is_no_cart_is_refused(service: Stub) -> None:
    for cart, problem in (
        ([], "1 to 100"),
        (["p0"] * 2, "holds a product twice"),
        ([f"x{n}" for n in range(101)], "1 to"),
    ):
        with pytest.raises(InvalidInput, match=problem) as refused:
            await together(service, ["p1"], cart)
        assert refused.value.field == "queries[1].product_ids"
    with pytest.raises(InvalidInput, match="k 0: must be 1 to 1000"):
        await together(service, ["p0"], k=0)
    with pytest.raises(InvalidInput, match="queries 4: rows in one call, the limit is 3"):
        await together(service, *[["p0"]] * 4)
