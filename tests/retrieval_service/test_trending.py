"""Trending over gRPC: the training's table, a table from the live log, and filters."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers.lists import COUNTED, RISES, write_lists
from tests.helpers.retrieval import Stub, query
from tests.helpers.services import running
from tests.helpers.tiny_version import CATEGORIES, build_version
from twotower.errors import InvalidInput
from twotower.pb import retrieval_pb2
from twotower.serving import wire
from twotower.serving.client import call, connect


@pytest.fixture(scope="module")
def rising(tmp_path_factory: pytest.TempPathFactory) -> Path:
    artifacts = tmp_path_factory.mktemp("rising")
    build_version(artifacts, "r", lists=write_lists)
    return artifacts


@pytest.fixture
async def ours(rising: Path) -> AsyncIterator[Stub]:
    async with running("retrieval", rising) as service, connect(service.address) as channel:
        yield Stub(channel)


def table(ids: Sequence[str], scores: Sequence[float]) -> retrieval_pb2.RisingTable:
    figures = np.array([scores, [20.0 + place for place in range(len(ids))], [3.0] * len(ids)], "<f4")
    counted = retrieval_pb2.Counted(until_ms=1, window_days=1, past_windows=28)
    return retrieval_pb2.RisingTable(packed_product_ids=wire.pack_ids(ids), figures=figures.tobytes(), counted=counted)


async def trending(stub: Stub, *asked: retrieval_pb2.Query, given: retrieval_pb2.RisingTable | None = None) -> Any:
    request = retrieval_pb2.TrendingRequest(queries=asked, rising=given)
    return await call(stub.Trending, request, 30, "retrieval service")


def ids_of(answer: Any) -> list[list[str]]:
    return [wire.unpack_ids(one.hits.packed_product_ids) for one in answer.hits]


async def test_the_training_s_table_ranks_and_filters(ours: Stub) -> None:
    perfume = list(CATEGORIES)[1]
    answer = await trending(ours, query(10), query(10, categories=[perfume]), query(2), query(10, ["p5"]))
    assert ids_of(answer) == [["p5", "p2", "p9"], ["p5", "p9"], ["p5", "p2"], ["p2", "p9"]]
    whole, perfumes, *_ = answer.hits
    scores, buyers, expected = zip(*RISES.values(), strict=True)
    assert wire.unpack_scores(whole.hits.scores).tolist() == list(scores)
    assert wire.unpack_scores(whole.buyers).tolist() == list(buyers)
    assert wire.unpack_scores(whole.expected).tolist() == list(expected)
    assert wire.unpack_scores(perfumes.buyers).tolist() == [40, 20]
    assert (answer.counted.until_ms, answer.counted.window_days) == (COUNTED.until_ms, COUNTED.window_days)


async def test_a_table_from_the_live_log_takes_its_place(ours: Stub) -> None:
    answer = await trending(ours, query(10), query(10, in_stock=True), given=table(["p6", "gone", "p1"], [3, 2, 1.5]))
    # p6 is out of stock, and the version lacks "gone"
    assert ids_of(answer) == [["p6", "p1"], ["p1"]]
    assert wire.unpack_scores(answer.hits[1].buyers).tolist() == [22]
    assert answer.counted.past_windows == 28


async def test_a_version_without_a_table_has_an_empty_list(stub: Stub) -> None:
    answer = await trending(stub, query(10))
    assert ids_of(answer) == [[]]
    assert not answer.HasField("counted")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (table(["p1", "p1"], [2, 2]), "twice"),
        (table(["p1"], [float("nan")]), "finite"),
        (retrieval_pb2.RisingTable(packed_product_ids="p1", figures=b"123"), "3 numbers for each of 1 products"),
        (table([f"n{place}" for place in range(2001)], [2.0] * 2001), "the limit is 2000"),
    ],
    ids=["twice", "no number", "short", "long"],
)
async def test_a_table_that_does_not_fit_is_refused(ours: Stub, given: retrieval_pb2.RisingTable, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        await trending(ours, query(10), given=given)
