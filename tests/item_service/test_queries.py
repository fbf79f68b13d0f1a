"""ItemService: how it understands and encodes queries, and completes them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from item_service.encoder import load
from item_service.queries import Typed
from item_service.servicer import serve
from item_service.settings import ItemSettings
from tests.helpers.services import running, until
from twotower import errors
from twotower.artifact.layout import Layout
from twotower.artifact.version import open_version
from twotower.graphs.text_encoder import TextEncoder
from twotower.pb import item_pb2, item_pb2_grpc
from twotower.serving import wire
from twotower.serving.client import call, connect
from twotower.serving.settings import read_settings


@pytest.fixture
async def stub(tiny: Path) -> AsyncIterator[item_pb2_grpc.ItemServiceStub]:
    async with running("item", tiny, max_batch=64, max_text=200) as service, connect(service.address) as channel:
        yield item_pb2_grpc.ItemServiceStub(channel)


async def encode(stub: item_pb2_grpc.ItemServiceStub, *queries: item_pb2.Query) -> item_pb2.EncodeResponse:
    return await call(stub.Encode, item_pb2.EncodeRequest(queries=queries), 30, "item service")


async def test_a_query_is_understood_and_has_the_vector_of_its_words(
    tiny: Path, stub: item_pb2_grpc.ItemServiceStub
) -> None:
    answer = await encode(stub, item_pb2.Query(text="ohjl `if jpj 200 vdhg"), item_pb2.Query(text="خاتم ذهب"))
    understood = answer.queries[0].understood
    assert understood.text == answer.queries[1].understood.text == "خاتم ذهب"
    assert [change.step for change in understood.changes] == ["layout", "price"]
    assert (understood.HasField("price_min"), understood.price_max) == (False, 200)
    assert [(word.text, word.group) for word in understood.words if word.weight == 1] == [("خاتم", 0), ("ذهب", 1)]
    assert understood.known_share == 1
    vectors = wire.unpack(answer.text_vectors)
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert answer.text_vectors.model_version == "tiny-a"


async def test_a_raw_query_is_searched_as_it_is(tiny: Path, stub: item_pb2_grpc.ItemServiceStub) -> None:
    answer = await encode(stub, item_pb2.Query(text="«عطر» تحت 200", raw=True))
    understood = answer.queries[0].understood
    assert (understood.text, list(understood.changes)) == ("عطر تحت 200", [])
    assert not understood.HasField("price_max")
    encoder = TextEncoder.load(open_version(Layout(tiny), "tiny-a").encoder, 1)
    np.testing.assert_allclose(wire.unpack(answer.text_vectors), encoder.encode(["عطر تحت 200"]), atol=1e-6)


async def test_a_bad_query_has_an_error_in_its_own_row(stub: item_pb2_grpc.ItemServiceStub) -> None:
    answer = await encode(stub, item_pb2.Query(text="!!"), item_pb2.Query(text="خاتم"), item_pb2.Query(text="ذ" * 201))
    assert [row.error.problem for row in answer.queries] == [
        "holds no letter or digit",
        "",
        "has 201 characters, the limit is 200",
    ]
    lengths = np.linalg.norm(wire.unpack(answer.text_vectors), axis=1)
    np.testing.assert_allclose(lengths, [0, 1, 0], atol=1e-6)


async def test_queries_stand_without_items_and_within_the_batch(stub: item_pb2_grpc.ItemServiceStub) -> None:
    both = item_pb2.EncodeRequest(queries=[item_pb2.Query(text="a")], items=[item_pb2.Item(title="a")])
    with pytest.raises(errors.InvalidInput, match="without items"):
        await call(stub.Encode, both, 30, "item service")
    with pytest.raises(errors.InvalidInput) as caught:
        await encode(stub, *[item_pb2.Query(text="a")] * 65)
    assert caught.value.field == "queries"


async def test_completions(stub: item_pb2_grpc.ItemServiceStub) -> None:
    answer = await call(stub.Suggest, item_pb2.SuggestRequest(text="خا", k=2), 30, "item service")
    assert [(one.text, one.kind) for one in answer.suggestions] == [("خاتم", "phrase"), ("خاتم ذهب", "phrase")]
    # of 40 products, every fourth is jewellery, and of these two in five are rings
    assert [one.products for one in answer.suggestions] == [4, 2]
    assert answer.model_version == "tiny-a"
    for k in (0, 101):
        with pytest.raises(errors.InvalidInput, match="k"):
            await call(stub.Suggest, item_pb2.SuggestRequest(text="خا", k=k), 30, "item service")


async def test_the_shops_own_synonyms_are_followed(tiny: Path, tmp_path: Path) -> None:
    path = tmp_path / "own.txt"
    path.write_text("طوق، خاتم", encoding="utf-8")
    async with running("item", tiny, synonyms=path, poll_seconds=0.02) as service, connect(service.address) as channel:
        stub = item_pb2_grpc.ItemServiceStub(channel)

        async def text() -> str:
            return (await encode(stub, item_pb2.Query(text="زمرد"))).queries[0].understood.text

        assert await text() == "زمرد"
        path.write_text("زمرد، خاتم ذهب", encoding="utf-8")
        await until(text, lambda found: found == "خاتم ذهب")


def test_steps_can_be_switched_off(tiny: Path) -> None:
    version = open_version(Layout(tiny), "tiny-a")
    queries = load(version, ItemSettings(query_steps="price")).queries
    found = queries.encode([Typed("ohjl تحت 200")]).rows[0].query
    assert (found.text, found.price_max) == ("ohjl", 200)


def test_an_unknown_step_is_a_wrong_setting() -> None:
    with pytest.raises(errors.SettingsError, match="'magic' is no step; known: layout"):
        read_settings(ItemSettings, "item", {"TWOTOWER_ITEM_QUERY_STEPS": "price,magic"})


async def test_a_file_of_synonyms_that_cannot_be_read_is_a_wrong_setting(tiny: Path, tmp_path: Path) -> None:
    settings = ItemSettings(artifacts=tiny, cache=None, synonyms=tmp_path / "none.txt")
    with pytest.raises(errors.SettingsError, match=r"TWOTOWER_ITEM_SYNONYMS=.*none\.txt.*cannot be read"):
        await serve(settings)
