"""A version in Milvus is published by its alias; collections that no version names are dropped."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.milvus_server import MilvusServer
from tests.helpers.tiny_version import build_version, catalogue, products_of
from trainer.config.loading import load_config
from trainer.config.schema import Config
from trainer.index.build import item_queries
from trainer.index.milvus import collections, drop_unnamed
from trainer.index.product_index import write_index
from twotower.artifact.layout import Layout
from twotower.artifact.manifest import IndexSpec
from twotower.errors import CorruptArtifact
from twotower.search.milvus_address import MilvusAddress
from twotower.search.milvus_release import publish_version


@pytest.fixture(scope="module")
def milvus() -> Iterator[MilvusServer]:
    with MilvusServer() as running:
        yield running


@pytest.fixture
def config() -> Config:
    return load_config([], ["index.kind=milvus", "index.target_recall=0.9"])


@pytest.fixture
def written(tmp_path: Path, milvus: MilvusServer, config: Config, monkeypatch: pytest.MonkeyPatch) -> IndexSpec:
    """The index of the version `a` in `tmp_path`, written as a run writes it."""
    monkeypatch.setenv("TWOTOWER_MILVUS", milvus.address.uri)
    version = build_version(tmp_path, "a", products=40, buyers=0, publish=False)
    vectors = np.load(version.layout.embeddings)
    products = products_of(catalogue(40))
    spec = write_index(vectors, item_queries(vectors, 3, 10), version.layout, config, products)
    manifest = json.loads(version.layout.manifest.read_text())
    for name in ("product_index.faiss", "nearest_products.onnx"):
        del manifest["files"][name]
    version.layout.manifest.write_text(json.dumps(manifest | {"index": spec.model_dump()}))
    return spec


def test_an_index_in_milvus_has_no_file_and_names_no_address(
    tmp_path: Path, milvus: MilvusServer, written: IndexSpec
) -> None:
    version = Layout(tmp_path).version("a")
    assert not version.index.exists() and not version.nearest.exists()
    assert written.kind == "milvus" and milvus.client.has_collection(written.collection)
    assert [step.depth for step in written.steps] == [10, 40]
    assert milvus.address.uri not in version.manifest.read_text()
    assert collections(Layout(tmp_path)) == {written.collection}


def test_publishing_moves_the_alias_and_refuses_a_version_without_its_collection(
    tmp_path: Path, milvus: MilvusServer, written: IndexSpec
) -> None:
    layout, client = Layout(tmp_path), milvus.client
    assert publish_version(layout, "a", milvus.address).version == "a"
    assert client.describe_alias("twotower")["collection_name"] == written.collection
    if not client.has_collection("other"):
        client.create_collection("other", dimension=4)
    client.alter_alias("other", "twotower")
    publish_version(layout, "a", milvus.address)
    assert client.describe_alias("twotower")["collection_name"] == written.collection
    layout.current.unlink()
    client.drop_collection(written.collection)
    with pytest.raises(CorruptArtifact, match=f"no collection {written.collection}"):
        publish_version(layout, "a", milvus.address)
    assert not layout.current.exists()


def test_only_collections_that_no_version_names_are_dropped(
    tmp_path: Path, milvus: MilvusServer, written: IndexSpec
) -> None:
    milvus.client.create_collection("twotower_old", dimension=4)
    drop_unnamed(Layout(tmp_path), {"twotower_old", written.collection}, milvus.address)
    assert not milvus.client.has_collection("twotower_old")
    assert milvus.client.has_collection(written.collection)


def test_collections_that_milvus_does_not_drop_are_named(tmp_path: Path, logged: pytest.LogCaptureFixture) -> None:
    drop_unnamed(Layout(tmp_path), {"twotower_old"}, MilvusAddress("http://127.0.0.1:1"))
    assert "drop them by hand: twotower_old" in logged.text
