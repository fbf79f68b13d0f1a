"""Which files the retrieval service refuses to load."""

from __future__ import annotations

import shutil
from pathlib import Path

import faiss
import numpy as np
import pytest

from retrieval_service.index import ProductIndex
from retrieval_service.loading import load
from retrieval_service.settings import RetrievalSettings
from tests.helpers.retrieval import PRODUCTS, opened, wordless
from tests.helpers.tiny_version import build_version
from twotower.artifact.catalogue import Catalogue, write_catalogue
from twotower.artifact.manifest import Fusion
from twotower.artifact.version import Version
from twotower.errors import CorruptArtifact
from twotower.search.fused_score import FusedScore
from twotower.search.vector_index import VectorIndex

OPENED = [
    "product_index.faiss",
    "nearest_products.onnx",
    "nearest_texts.onnx",
    "product_embeddings.npy",
    "product_ids.npy",
    "products.sqlite",
    "text_embeddings.npy",
    "text_index.faiss",
    "words.npy",
    "word_starts.npy",
    "word_weights.npy",
    "word_offsets.npy",
    "word_rows.npy",
    "word_scores.npy",
]


@pytest.mark.parametrize("name", OPENED)
def test_a_damaged_file_that_the_service_opens_is_refused(artifacts: Path, name: str) -> None:
    version = opened(artifacts, "a")
    (version.layout.root / name).write_bytes(b"\0")
    with pytest.raises(CorruptArtifact, match=name):
        load(version, RetrievalSettings())


def test_a_damaged_file_of_another_service_does_not_matter(artifacts: Path) -> None:
    version = opened(artifacts, "a")
    for path in version.layout.root.iterdir():
        if path.name not in OPENED:
            path.unlink()
    load(version, RetrievalSettings())


def test_sizes_that_differ_from_the_manifest_are_refused(artifacts: Path) -> None:
    version = opened(artifacts, "a")
    for changes in ({"products": 41}, {"dimension": 9}):
        other = Version(version.manifest.model_copy(update=changes), version.layout, version.encoder)
        with pytest.raises(CorruptArtifact, match="is 40 x 8, the manifest says"):
            load(other, RetrievalSettings())
    other = Version(version.manifest.model_copy(update={"text_dimension": 13}), version.layout, version.encoder)
    with pytest.raises(CorruptArtifact, match="has 12 dimensions, the manifest says 13"):
        load(other, RetrievalSettings())


def test_texts_of_another_number_of_products_are_refused(artifacts: Path, tmp_path: Path) -> None:
    version, other = opened(artifacts, "a"), build_version(tmp_path / "other", "b", products=39)
    for name in ("text_embeddings.npy", "text_index.faiss"):
        shutil.copyfile(other.layout.root / name, version.layout.root / name)
    files = version.manifest.files | {
        name: other.manifest.files[name] for name in ("text_embeddings.npy", "text_index.faiss")
    }
    # the graph has the vectors of the other file
    del files["nearest_texts.onnx"]
    mixed = Version(version.manifest.model_copy(update={"files": files}), version.layout, version.encoder)
    with pytest.raises(CorruptArtifact, match="the text index holds 39 products, the index of words 40"):
        load(mixed, RetrievalSettings())


def test_a_catalogue_of_another_size_than_the_index_is_refused(tmp_path: Path) -> None:
    write_catalogue(tmp_path / "p.sqlite", PRODUCTS[:39])
    index = faiss.IndexFlatIP(2)
    vectors = np.zeros((40, 2), np.float32)
    index.add(vectors)
    rows, flat = {one.id: one.row for one in PRODUCTS}, VectorIndex(index, vectors)
    with pytest.raises(CorruptArtifact, match=r"index holds 40 products, the list of ids 40, products\.sqlite 39"):
        ProductIndex(
            flat, FusedScore(Fusion(), flat.size, None, None), wordless(flat), rows, Catalogue(tmp_path / "p.sqlite")
        )
