"""Searches by text: cosines with the products' texts, and answers below the noise."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.retrieval import PRODUCTS, Stub, opened, query, ranked
from tests.helpers.services import running
from tests.helpers.tiny_version import build_version
from twotower import errors
from twotower.arrays import Float32
from twotower.pb import retrieval_pb2
from twotower.serving import wire
from twotower.serving.client import call, connect


async def by_text(
    stub: Stub, vectors: Float32, *queries: retrieval_pb2.Query, version: str = "tiny-a"
) -> Sequence[retrieval_pb2.Hits]:
    request = retrieval_pb2.SearchRequest(vectors=wire.pack(vectors, version), queries=queries, by_text=True)
    return (await call(stub.Search, request, 30, "retrieval service")).hits


@pytest.fixture
def texts(tiny: Path) -> Float32:
    return np.load(opened(tiny).layout.text_embeddings)


async def test_a_search_by_text_ranks_by_the_cosines_of_the_texts(stub: Stub, texts: Float32) -> None:
    asked = texts[[3, 8]] * np.array([[7], [0.1]], np.float32)  # the length of a text's vector does not count
    for row, hits in zip((3, 8), await by_text(stub, asked, query(5), query(5)), strict=True):
        assert list(hits.product_ids) == ranked(texts, texts[row], PRODUCTS, 5)
        assert wire.unpack_scores(hits.scores)[0] == pytest.approx(1, abs=1e-5)
        assert not hits.is_below_noise


async def test_an_answer_no_better_than_random_letters_says_so(texts: Float32, tmp_path: Path) -> None:
    build_version(tmp_path, "deaf", noise=1.1)  # no cosine is so high
    async with running("retrieval", tmp_path) as service, connect(service.address) as channel:
        (hits,) = await by_text(Stub(channel), texts[:1], query(1), version="deaf")
        assert hits.is_below_noise


async def test_vectors_of_the_item_tower_are_no_texts(stub: Stub, stored: Float32) -> None:
    with pytest.raises(errors.InvalidInput, match="8: the index has 12 dimensions"):
        await by_text(stub, stored[:1], query())
