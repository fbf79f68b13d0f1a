"""Publishing: names, pointers, old versions, and versions that must not appear."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import faiss
import pytest

from tests.helpers.small_shop import (
    DAY,
    NOON,
    copy_artifacts,
    current,
    run_arguments,
    small_run,
    two_runs,
    write_shop,
)
from trainer.__main__ import main
from trainer.release.locks import working_alone
from trainer.stages import publish as publish_stage
from twotower.artifact.layout import Layout
from twotower.artifact.retention import list_versions
from twotower.artifact.version import Version, open_version

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def version() -> Version:
    return current(small_run()[1])


def test_a_run_says_that_somebody_has_published_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    shop, made = small_run()
    artifacts = copy_artifacts(made, tmp_path / "artifacts")
    first, write = current(artifacts).name, publish_stage.write_release
    other = made_again(artifacts, "v-01")

    def slow(*arguments: Any, **named: Any) -> Version:
        assert main(["publish", other, "--artifacts", str(artifacts)]) == 0
        return write(*arguments, **named)

    monkeypatch.setattr(publish_stage, "write_release", slow)
    assert main(run_arguments(shop, artifacts, command="publish")) == 0
    wanted = f"warning: CURRENT named {first} when this began and {other} now, which this version replaces"
    assert wanted in capsys.readouterr().out


def made_again(artifacts: Path, name: str, created_at: str = "2099") -> str:
    """Copies the current version under another name and another time."""
    first, folder = current(artifacts), Layout(artifacts).version(name)
    shutil.copytree(first.layout.root, folder.root)
    shutil.copytree(first.layout.private, folder.private)
    manifest = first.manifest.model_copy(update={"version": name, "created_at": created_at})
    folder.manifest.write_text(manifest.model_dump_json())
    return name


def test_publish_rolls_back_and_forward_and_lists(tmp_path: Path, capsys: Capture) -> None:
    artifacts = copy_artifacts(small_run()[1], tmp_path / "artifacts")
    old = current(artifacts).name
    new = made_again(artifacts, "v-01")

    def listed() -> list[str]:
        capsys.readouterr()
        assert main(["publish", "--list", "--artifacts", str(artifacts)]) == 0
        return capsys.readouterr().out.splitlines()

    assert listed() == [f"{old} CURRENT", new]
    assert main(["publish", new, "--artifacts", str(artifacts)]) == 0
    assert capsys.readouterr().out == f"published {new}\n"
    assert listed() == [f"{old} PREVIOUS", f"{new} CURRENT"]
    assert main(["publish", old, "--artifacts", str(artifacts)]) == 0
    assert listed() == [f"{old} CURRENT", f"{new} PREVIOUS"]
    before = (artifacts / "CURRENT").read_text()
    capsys.readouterr()
    assert main(["publish", "nope", "--artifacts", str(artifacts)]) == 2
    assert "there is no version 'nope'" in capsys.readouterr().err
    (artifacts / "versions" / new / "item_tower.onnx").write_bytes(b"x")
    assert main(["publish", new, "--artifacts", str(artifacts)]) == 2
    assert "item_tower.onnx has 1 bytes, its manifest says" in capsys.readouterr().err
    assert (artifacts / "CURRENT").read_text() == before
    assert main(["publish", "--artifacts", str(artifacts)]) == 2
    assert "publish needs a VERSION, or --events and --products" in capsys.readouterr().err


def test_old_versions_are_pruned_but_never_current_or_previous(tmp_path: Path) -> None:
    artifacts = copy_artifacts(two_runs()[0], tmp_path / "artifacts")
    layout, second = Layout(artifacts), current(artifacts)
    first = current(small_run()[1]).name
    for name in ("v-01", "v-02", "v-03"):
        made_again(artifacts, name, created_at=f"1999-{name[-2:]}")
    # rolled back to the first, which publishing then names in PREVIOUS; the second is newer and named nowhere
    assert main(["publish", first, "--artifacts", str(artifacts)]) == 0
    command = run_arguments(small_run()[0], artifacts, command="publish", settings=["publish.keep_versions=1"])
    assert main(command) == 0
    newest = current(artifacts).name
    assert newest not in (first, second.name)
    assert list_versions(layout) == [first, newest]
    assert (artifacts / "PREVIOUS").read_text().split()[0] == first
    # the second version's encoder goes with it
    encoders = {path.name for path in layout.encoders.iterdir()}
    assert encoders == {open_version(layout, name).manifest.encoder_digest for name in (first, newest)}
    assert second.manifest.encoder_digest not in encoders


def test_services_load_what_was_published(version: Version) -> None:
    from buyer_service.encoder import load as load_buyer
    from buyer_service.settings import BuyerSettings
    from item_service.encoder import load as load_item
    from item_service.settings import ItemSettings
    from retrieval_service.loading import load as load_index
    from retrieval_service.settings import RetrievalSettings

    load_item(version, ItemSettings())
    load_buyer(version, BuyerSettings())
    load_index(version, RetrievalSettings())


def test_two_versions_of_one_second_have_two_names(tmp_path: Path) -> None:
    shop, artifacts = write_shop(tmp_path / "shop"), copy_artifacts(small_run()[1], tmp_path / "artifacts")
    before = list_versions(Layout(artifacts))
    for _ in range(2):
        assert main(run_arguments(shop, artifacts, command="publish")) == 0
    assert len(list_versions(Layout(artifacts))) == len(before) + 2


def test_a_second_trainer_in_the_same_folder_is_refused(tmp_path: Path, capsys: Capture) -> None:
    shop, artifacts = write_shop(tmp_path / "shop"), tmp_path / "artifacts"
    with working_alone(Layout(artifacts)):
        assert main(run_arguments(shop, artifacts)) == 2
    assert f"another trainer is working in {artifacts}" in capsys.readouterr().err


def test_a_version_that_services_could_not_load_never_appears(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    shop, artifacts = write_shop(tmp_path / "shop"), copy_artifacts(small_run()[1], tmp_path / "artifacts")
    layout = Layout(artifacts)
    before, pointer = list_versions(layout), layout.current.read_text()
    add = faiss.IndexFlatIP.add
    # of the towers' vectors one is left out; the texts' have 32 dimensions
    monkeypatch.setattr(faiss.IndexFlatIP, "add", lambda index, rows: add(index, rows[rows.shape[1] == 16 :]))
    assert main(run_arguments(shop, artifacts, command="index")) == 0
    assert main(run_arguments(shop, artifacts, command="publish")) == 2
    assert "the index holds 59 x 16" in capsys.readouterr().err
    assert (list_versions(layout), layout.current.read_text()) == (before, pointer)
    assert not [path for path in layout.work.iterdir() if path.name.startswith("version-")]


def test_a_damaged_old_version_does_not_fail_a_run(tmp_path: Path) -> None:
    shop, artifacts = write_shop(tmp_path / "shop"), copy_artifacts(small_run()[1], tmp_path / "artifacts")
    layout = Layout(artifacts)
    old = list_versions(layout)[0]
    assert main(run_arguments(shop, artifacts, command="publish")) == 0
    layout.version(old).manifest.write_text("{}")
    assert main(run_arguments(shop, artifacts, command="publish")) == 0


def test_the_trainers_own_folders_do_not_grow_for_ever(tmp_path: Path) -> None:
    shop, artifacts = write_shop(tmp_path / "shop"), copy_artifacts(small_run()[1], tmp_path / "artifacts")
    work = Layout(artifacts).work
    folders = [work / name for name in ("runs", "encoders", "text_vectors")]
    own = [set(folder.iterdir()) for folder in folders]
    assert [len(paths) for paths in own] == [1, 1, 1]
    for folder in folders:
        for day in range(3):  # used before the run
            (folder / f"older-{day}").mkdir()
            os.utime(folder / f"older-{day}", (NOON + day * DAY, NOON + day * DAY))
    command = run_arguments(shop, artifacts, command="publish", settings=["publish.keep_versions=2"])
    assert main(command) == 0
    for folder, paths in zip(folders, own, strict=True):
        assert set(folder.iterdir()) == {*paths, folder / "older-2"}
