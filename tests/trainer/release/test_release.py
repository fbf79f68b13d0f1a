"""What every way to a new version has in common: the locks, and the check by loading."""

from __future__ import annotations

from pathlib import Path

import faiss
import numpy as np
import pytest

from tests.helpers.tiny_version import build_version
from trainer.config.loading import load_config
from trainer.config.schema import Config
from trainer.errors import DataError
from trainer.release.locks import alone_in_cache, working_alone
from trainer.release.verify import load_as_services_do
from twotower.artifact.layout import Layout
from twotower.artifact.manifest import Fusion
from twotower.artifact.version import Version, describe
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


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("neighbour_rows.npy", np.array([40], np.int32), "there are 1 rows and"),
        ("neighbour_scores.npy", None, "neighbour_scores holds nan"),
        ("prior.npy", np.full(40, 2, np.float32), r"the prior of row 0 is 2\.0"),
    ],
)
def test_a_version_whose_score_does_not_fit_is_refused(
    tmp_path: Path, name: str, value: np.ndarray | None, problem: str
) -> None:
    version = build_version(tmp_path, "a", fusion=Fusion(neighbour_weight=1, prior_weight=1))
    load_as_services_do(version, 1)
    path = version.layout.root / name
    np.save(path, np.load(path) * np.float32(np.nan) if value is None else value)
    manifest = version.manifest.model_copy(update={"files": version.manifest.files | {name: describe(path)}})
    with pytest.raises(CorruptArtifact, match=problem):
        load_as_services_do(Version(manifest, version.layout, version.encoder), 1)


def sharing(cache: Path) -> Config:
    return load_config([], [f"paths.cache={cache}"])


def test_two_artifact_folders_that_share_a_cache_have_one_trainer_at_a_time(tmp_path: Path) -> None:
    cache, one, other = tmp_path / "cache", Layout(tmp_path / "one"), Layout(tmp_path / "other")
    with working_alone(one), working_alone(other), alone_in_cache(sharing(cache), one):
        wanted = rf"another trainer is working in {cache} \(paths.cache\); wait for it"
        with pytest.raises(DataError, match=wanted), alone_in_cache(sharing(cache), other):
            pytest.fail("must not be reached")
    with alone_in_cache(sharing(cache), other):
        pass


def test_a_cache_that_is_another_shops_work_folder_is_that_shops(tmp_path: Path) -> None:
    one, other = Layout(tmp_path / "one"), Layout(tmp_path / "other")
    with working_alone(one):
        with alone_in_cache(sharing(one.work), one):
            pass
        with pytest.raises(DataError, match="another trainer"), alone_in_cache(sharing(one.work), other):
            pytest.fail("must not be reached")


def test_what_a_killed_trainer_left_is_removed_once_the_folder_is_locked(tmp_path: Path) -> None:
    work = Layout(tmp_path).work
    for name in ("version-a", "removed-b", "encoder-export", "runs"):
        (work / name).mkdir(parents=True)
        (work / name / "file").write_bytes(b"half")
    (work / "demo-versions").write_text("a\n")
    with working_alone(Layout(tmp_path)):
        assert {path.name for path in work.iterdir()} == {".lock", "runs", "demo-versions"}


def test_the_event_log_is_no_leftover(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    kept = layout.log / "interactions" / "day=2026-01-31" / "1-0.parquet"
    kept.parent.mkdir(parents=True)
    kept.touch()
    (layout.private / "20260101T000000Z-0a1b2c3d").mkdir()
    with working_alone(layout):
        assert [path.name for path in layout.private.iterdir()] == ["log"]
        assert kept.is_file()
