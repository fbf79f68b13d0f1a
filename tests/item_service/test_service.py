"""ItemService: the vectors it gives, and what it says of items that it cannot encode."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from item_service.encoder import load
from item_service.settings import ItemSettings
from tests.helpers.services import check_process, check_wrong_setting, running
from tests.helpers.tiny_version import TEXT_DIMENSION, build_version, catalogue
from twotower import errors
from twotower.artifact.layout import Layout
from twotower.artifact.version import Version, open_version
from twotower.errors import CorruptArtifact
from twotower.graphs.text_encoder import TextEncoder
from twotower.pb import item_pb2, item_pb2_grpc
from twotower.serving import telemetry, wire
from twotower.serving.client import call, connect
from twotower.text.normalise import item_text

PRODUCTS = catalogue(40)


def message(row: int) -> item_pb2.Item:
    one = PRODUCTS[row]
    return item_pb2.Item(
        title=one.title, description=one.description, brand=one.brand, category=one.category, product_id=one.id
    )


def opened(artifacts: Path, name: str = "tiny-a") -> Version:
    return open_version(Layout(artifacts), name)


@pytest.fixture
async def stub(tiny: Path) -> AsyncIterator[item_pb2_grpc.ItemServiceStub]:
    async with running("item", tiny, max_batch=64, max_text=200) as service, connect(service.address) as channel:
        yield item_pb2_grpc.ItemServiceStub(channel)


async def encode(
    stub: item_pb2_grpc.ItemServiceStub, *items: item_pb2.Item, text_only: bool = False
) -> item_pb2.EncodeResponse:
    request = item_pb2.EncodeRequest(items=items, text_only=text_only)
    return await call(stub.Encode, request, 30, "item service")


async def test_a_row_of_the_catalogue_gets_its_stored_vector(tiny: Path, stub: item_pb2_grpc.ItemServiceStub) -> None:
    answer = await encode(stub, *map(message, range(40)))
    stored = np.load(opened(tiny).layout.embeddings)
    np.testing.assert_allclose(wire.unpack(answer.vectors), stored, atol=1e-4)
    assert answer.vectors.model_version == "tiny-a"
    assert not any(item.HasField("error") for item in answer.items)
    assert not answer.HasField("text_vectors")


async def test_rows_keep_their_order_whatever_the_lengths_of_the_texts(stub: item_pb2_grpc.ItemServiceStub) -> None:
    items = [item_pb2.Item(title="عود " * (1 + (7 * place) % 11)) for place in range(20)]
    together = wire.unpack((await encode(stub, *items)).vectors)
    for place, item in enumerate(items):
        alone = wire.unpack((await encode(stub, item)).vectors)
        np.testing.assert_allclose(alone[0], together[place], atol=1e-5)


async def test_the_product_embedding_is_added_for_products_of_the_catalogue_alone(
    tiny: Path, stub: item_pb2_grpc.ItemServiceStub
) -> None:
    known, content, stranger = message(7), message(7), message(7)
    content.product_id, stranger.product_id = "", "p40"
    answer = await encode(stub, known, content, stranger)
    vectors = wire.unpack(answer.vectors)
    np.testing.assert_array_equal(vectors[1], vectors[2])
    assert np.abs(vectors[0] - vectors[1]).max() > 1e-3
    assert [list(item.unknown_fields) for item in answer.items] == [[], [], ["product_id"]]


async def test_unknown_names_are_reported_and_encoded_as_if_not_given(
    stub: item_pb2_grpc.ItemServiceStub,
) -> None:
    answer = await encode(
        stub,
        item_pb2.Item(title="خاتم", brand="لا أحد", category="زهور", product_id="nobody"),
        item_pb2.Item(title="خاتم"),
        item_pb2.Item(title="خاتم", brand="  "),
        item_pb2.Item(title="خاتم", category="مجوهرات"),
    )
    assert [list(item.unknown_fields) for item in answer.items] == [["brand", "category", "product_id"], [], [], []]
    vectors = wire.unpack(answer.vectors)
    np.testing.assert_array_equal(vectors[0], vectors[1])
    np.testing.assert_array_equal(vectors[1], vectors[2])
    assert np.abs(vectors[3] - vectors[1]).max() > 1e-3


async def test_another_spelling_of_a_text_and_of_a_category_gives_the_same_vector(
    stub: item_pb2_grpc.ItemServiceStub,
) -> None:
    answer = await encode(
        stub,
        item_pb2.Item(title="أسورة ذهب 21", category="مجوهرات"),
        item_pb2.Item(title="اسـورَه <b>ذهب</b>  ٢١", category="مجوهرات\u200b"),
    )
    vectors = wire.unpack(answer.vectors)
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-6)


@pytest.mark.parametrize(
    "empty", [("", ""), ("  ", "\n"), ("\u200b", "\u202e"), ("ـــ", "\u064b"), ("\x00", "\x07"), ("<!-- -->", "")]
)
async def test_an_item_without_text_is_an_error_of_its_row_alone(
    stub: item_pb2_grpc.ItemServiceStub, empty: tuple[str, str]
) -> None:
    answer = await encode(stub, message(0), item_pb2.Item(title=empty[0], description=empty[1]), message(1))
    errors_of = [item.error.kind for item in answer.items]
    assert errors_of == ["", "InvalidInput", ""]
    assert answer.items[1].error.field == "title"
    assert "hold no text" in answer.items[1].error.message
    lengths = np.linalg.norm(wire.unpack(answer.vectors), axis=1)
    np.testing.assert_allclose(lengths, [1, 0, 1], atol=1e-6)


async def test_a_batch_of_items_without_text_is_all_row_errors(stub: item_pb2_grpc.ItemServiceStub) -> None:
    for text_only, dimension in ((False, 8), (True, TEXT_DIMENSION)):
        answer = await encode(stub, item_pb2.Item(), item_pb2.Item(brand="لازوردي"), text_only=text_only)
        assert [item.error.kind for item in answer.items] == ["InvalidInput"] * 2
        vectors = wire.unpack(answer.text_vectors if text_only else answer.vectors)
        assert vectors.shape == (2, dimension) and not vectors.any()


async def test_a_description_alone_is_enough(stub: item_pb2_grpc.ItemServiceStub) -> None:
    answer = await encode(stub, item_pb2.Item(description="خاتم ذهب"), item_pb2.Item(title="خاتم ذهب"))
    vectors = wire.unpack(answer.vectors)
    np.testing.assert_array_equal(vectors[0], vectors[1])


@pytest.mark.parametrize("field", ["title", "description", "brand", "category"])
async def test_a_text_over_the_limit_names_its_field(stub: item_pb2_grpc.ItemServiceStub, field: str) -> None:
    long = item_pb2.Item(title="خاتم", **{} if field == "title" else {field: "ذ" * 201})
    if field == "title":
        long.title = "ذ" * 201
    answer = await encode(stub, long, message(0))
    assert (answer.items[0].error.kind, answer.items[0].error.field) == ("InvalidInput", field)
    assert "the limit is 200" in answer.items[0].error.message
    assert not answer.items[1].HasField("error")


async def test_title_and_description_share_one_limit(stub: item_pb2_grpc.ItemServiceStub) -> None:
    answer = await encode(
        stub,
        item_pb2.Item(title="ذ" * 100, description="ذ" * 100),
        item_pb2.Item(title="ذ" * 101, description="ذ" * 100),
    )
    assert [item.error.field for item in answer.items] == ["", "title"]
    assert "201 characters, the limit is 200" in answer.items[1].error.message


async def test_no_items_and_too_many_items_are_refused(stub: item_pb2_grpc.ItemServiceStub) -> None:
    for count in (0, 65):
        with pytest.raises(errors.InvalidInput) as caught:
            await encode(stub, *[item_pb2.Item(title="a")] * count)
        assert caught.value.field == "items"
    assert len((await encode(stub, *[item_pb2.Item(title="a")] * 64)).items) == 64


async def test_text_vectors_are_those_of_the_text_encoder(tiny: Path, stub: item_pb2_grpc.ItemServiceStub) -> None:
    answer = await encode(stub, *map(message, range(5)), text_only=True)
    assert not answer.HasField("vectors")
    texts = [item_text(one.title, one.description) for one in PRODUCTS[:5]]
    wanted = TextEncoder.load(opened(tiny).encoder, 1).encode(texts)
    np.testing.assert_allclose(wire.unpack(answer.text_vectors), wanted, atol=1e-6)
    assert answer.text_vectors.model_version == "tiny-a"


async def test_both_versions_answer_each_with_its_own_vectors(artifacts: Path) -> None:
    build_version(artifacts, "b", seed=1)
    async with running("item", artifacts) as service, connect(service.address) as channel:
        stub = item_pb2_grpc.ItemServiceStub(channel)
        for asked, name in (("", "b"), ("a", "a"), ("b", "b")):
            request = item_pb2.EncodeRequest(items=[message(3)], model_version=asked)
            answer = await call(stub.Encode, request, 30, "item service")
            assert answer.vectors.model_version == name
            stored = np.load(opened(artifacts, name).layout.embeddings)
            np.testing.assert_allclose(wire.unpack(answer.vectors)[0], stored[3], atol=1e-4)


async def test_rows_are_counted(stub: item_pb2_grpc.ItemServiceStub) -> None:
    before = telemetry.CALL_ROWS.labels("Encode")._value.get()
    await encode(stub, *map(message, range(7)))
    assert telemetry.CALL_ROWS.labels("Encode")._value.get() == before + 7


OPENED = ["item_tower.onnx", "item_tower_rows.npy", "vocab.json", "product_ids.npy", "search_words.json"]


@pytest.mark.parametrize("name", OPENED)
def test_a_damaged_file_that_the_service_opens_is_refused(artifacts: Path, name: str) -> None:
    version = opened(artifacts, "a")
    path = version.layout.root / name
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(CorruptArtifact, match=name):
        load(version, ItemSettings())


def test_a_damaged_file_of_another_service_does_not_matter(artifacts: Path) -> None:
    version = opened(artifacts, "a")
    for path in version.layout.root.iterdir():
        if path.name not in OPENED:
            path.unlink()
    load(version, ItemSettings())


def test_files_that_do_not_fit_each_other_are_refused(artifacts: Path) -> None:
    version = opened(artifacts, "a")
    for changes, problem in (
        ({"products": 41}, "40 ids, the manifest says 41"),
        ({"text_dimension": 7}, "12 dimensions, the manifest 7"),
        ({"dimension": 9}, r"wanted finite numbers \[2, 9\]"),
    ):
        other = Version(version.manifest.model_copy(update=changes), version.layout, version.encoder)
        with pytest.raises(CorruptArtifact, match=problem):
            load(other, ItemSettings())


async def test_the_process_serves_drains_and_says_what_it_does(tiny: Path) -> None:
    items = [item_pb2.Item(title="خاتم ذهب " * 200, description=str(row)) for row in range(1000)]
    stub, request = item_pb2_grpc.ItemServiceStub, item_pb2.EncodeRequest(items=items)
    await check_process("item", tiny, "twotower.item.v1.ItemService", stub, "Encode", request)


def test_a_wrong_setting_is_one_line_and_exit_code_2() -> None:
    check_wrong_setting("item")
