"""What every way to a new version has in common: the locks, and the check by loading."""

from __future__ import annotations

from pathlib import Path

import faiss
import numpy as np
import pytest
from tiny_artifact import build_version

from trainer.release import load_as_services_do
from twotower.artifact import Version, describe
from twotower.errors import CorruptArtifact


def rewritten(version: Version, embeddings: Path, index: Path, row: int, value: float) -> Version:
    """The version with every number of one row of these vectors set to `value`, in the index too."""
    vectors = np.load(embeddings)
    vectors[row] = value
    np.save(embeddings, vectors)
    built = faiss.IndexFlatIP(vectors.shape[1])
    built.add(vectors)
    faiss.write_index(built, str(index))
    entries = {path.name: describe(path) for path in (embeddings, index)}
    manifest = version.manifest.model_copy(update={"files": version.manifest.files | entries})
    return Version(manifest, version.layout, version.encoder)


@pytest.mark.parametrize("kind", ["product", "text"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_version_with_numbers_that_are_not_finite_is_refused(tmp_path: Path, kind: str, value: float) -> None:
    version = build_version(tmp_path, "a", products=80)
    files = version.layout
    text = kind == "text"
    embeddings, index = (files.text_embeddings, files.text_index) if text else (files.embeddings, files.index)
    wrong = rewritten(version, embeddings, index, 70, value)
    with pytest.raises(CorruptArtifact, match=rf"{embeddings.name} holds numbers that are not finite .* first in 70"):
        load_as_services_do(wrong, 1)


def test_products_with_vectors_of_zeros_need_not_be_found_by_them(tmp_path: Path) -> None:
    version = build_version(tmp_path, "a")
    load_as_services_do(rewritten(version, version.layout.embeddings, version.layout.index, 3, 0.0), 1)
