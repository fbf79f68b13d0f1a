"""How a version is written, verified, published and pruned."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.helpers.tiny_version import build_version
from twotower.artifact import store
from twotower.artifact.layout import Layout, VersionLayout
from twotower.artifact.manifest import Manifest
from twotower.artifact.pointer import read_pointer
from twotower.artifact.retention import list_versions, prune, remove_leftovers
from twotower.artifact.store import publish, write_version
from twotower.artifact.version import Version, describe, open_version, verify
from twotower.errors import CorruptArtifact, NotFound, Overtaken


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def name_in(path: Path) -> str:
    pointer = read_pointer(path)
    assert pointer is not None
    return pointer.version


def test_the_same_arguments_give_the_same_bytes(tmp_path: Path) -> None:
    first = build_version(tmp_path / "one", "a")
    second = build_version(tmp_path / "two", "a")
    assert first.manifest == second.manifest


def test_the_manifest_lists_every_other_file_with_its_size_and_hash(artifacts: Path) -> None:
    version = open_version(Layout(artifacts), "a")
    present = {path.name for path in version.layout.root.iterdir()} - {"manifest.json"}
    assert set(version.manifest.files) == present
    for name, entry in version.manifest.files.items():
        assert entry == describe(version.layout.root / name)
    verify(version)


def test_a_version_that_fails_to_be_written_leaves_nothing_behind(artifacts: Path) -> None:
    before = tree(artifacts)

    def fill(files: VersionLayout) -> Manifest:
        files.embeddings.write_bytes(b"half")
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"):
        write_version(Layout(artifacts), "b", fill)
    assert tree(artifacts) == before


def test_an_interrupted_write_leaves_nothing_behind(artifacts: Path) -> None:
    before = tree(artifacts)

    def fill(files: VersionLayout) -> Manifest:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_version(Layout(artifacts), "b", fill)
    assert tree(artifacts) == before


def test_a_version_is_never_written_over_another(artifacts: Path) -> None:
    with pytest.raises(FileExistsError, match="'a'"):
        build_version(artifacts, "a", seed=1)


@pytest.mark.parametrize("name", ["", ".", "..", "../a", "a/b", "-a", "a b", "x" * 65, "a\n"])
def test_a_bad_version_name_is_refused(artifacts: Path, name: str) -> None:
    with pytest.raises(ValueError, match="not a version name"):
        write_version(Layout(artifacts), name, lambda files: pytest.fail("must not be called"))
    with pytest.raises(NotFound, match="not a version name"):
        open_version(Layout(artifacts), name)


def test_open_version_says_that_there_is_no_such_version(artifacts: Path) -> None:
    with pytest.raises(NotFound, match="'z'"):
        open_version(Layout(artifacts), "z")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "JSON"),
        (b"{", "JSON"),
        (b"\xff\xfe", "JSON"),
        (b"{}", "version: Field required"),
    ],
)
def test_a_manifest_that_cannot_be_read_is_corrupt(artifacts: Path, content: bytes, problem: str) -> None:
    layout = Layout(artifacts)
    layout.version("a").manifest.write_bytes(content)
    with pytest.raises(CorruptArtifact, match=problem):
        open_version(layout, "a")


def test_a_manifest_of_another_schema_or_another_version_is_refused(artifacts: Path) -> None:
    layout = Layout(artifacts)
    manifest = open_version(layout, "a").manifest
    path = layout.version("a").manifest
    path.write_text(manifest.model_copy(update={"schema_version": 99}).model_dump_json())
    with pytest.raises(CorruptArtifact, match="schema 99, this code reads 1"):
        open_version(layout, "a")
    path.write_text(manifest.model_copy(update={"version": "other"}).model_dump_json())
    with pytest.raises(CorruptArtifact, match="'other', its folder is 'a'"):
        open_version(layout, "a")


def test_check_states_both_sizes_and_both_hashes(artifacts: Path) -> None:
    version = open_version(Layout(artifacts), "a")
    path = version.layout.vocab
    content = path.read_bytes()
    path.write_bytes(content + b" ")
    with pytest.raises(CorruptArtifact, match=f"{len(content) + 1} bytes, its manifest says {len(content)}"):
        version.check(path)
    path.write_bytes(b"[" + content[1:])
    with pytest.raises(CorruptArtifact, match=version.manifest.files["vocab.json"].sha256):
        version.check(path)
    path.unlink()
    with pytest.raises(CorruptArtifact, match="cannot be read"):
        version.check(path)


def test_check_refuses_a_file_that_the_manifest_does_not_list(artifacts: Path) -> None:
    version = open_version(Layout(artifacts), "a")
    version.layout.rejects.write_text("x")
    with pytest.raises(CorruptArtifact, match=r"rejects\.csv is not listed"):
        version.check(version.layout.rejects)


def test_publish_names_the_version_and_the_one_before(artifacts: Path) -> None:
    layout = Layout(artifacts)
    assert name_in(layout.current) == "a"
    assert read_pointer(layout.previous) is None
    build_version(artifacts, "b", seed=1)
    assert (name_in(layout.current), name_in(layout.previous)) == ("b", "a")
    publish(layout, "a")
    assert (name_in(layout.current), name_in(layout.previous)) == ("a", "b")


def test_publishing_the_current_version_again_changes_nothing(artifacts: Path) -> None:
    layout = Layout(artifacts)
    build_version(artifacts, "b", seed=1)
    publish(layout, "b")
    assert (name_in(layout.current), name_in(layout.previous)) == ("b", "a")


def test_a_corrupt_version_is_not_published(artifacts: Path) -> None:
    layout = Layout(artifacts)
    version = build_version(artifacts, "b", seed=1, publish=False)
    version.layout.weights.write_bytes(b"?")
    with pytest.raises(CorruptArtifact, match=r"model\.safetensors"):
        publish(layout, "b")
    assert name_in(layout.current) == "a"
    assert read_pointer(layout.previous) is None


def test_a_pointer_is_replaced_and_never_half_written(artifacts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = Layout(artifacts)
    build_version(artifacts, "b", seed=1, publish=False)
    monkeypatch.setattr(Path, "replace", lambda self, target: pytest.fail("died before the rename"))
    with pytest.raises(pytest.fail.Exception):
        publish(layout, "b")
    assert name_in(layout.current) == "a"


def test_a_version_is_published_only_where_current_is_what_was_expected(artifacts: Path) -> None:
    layout = Layout(artifacts)
    made_of = read_pointer(layout.current)
    build_version(artifacts, "b", seed=1)
    build_version(artifacts, "c", seed=2, publish=False)
    with pytest.raises(Overtaken, match=r"CURRENT names b by now, not a: c is a refresh of a .* run it again"):
        publish(layout, "c", expected=made_of)
    assert (name_in(layout.current), name_in(layout.previous)) == ("b", "a")
    verify(open_version(layout, "c"))
    publish(layout, "c", expected=read_pointer(layout.current))
    assert (name_in(layout.current), name_in(layout.previous)) == ("c", "b")


def build_days(artifacts: Path, count: int) -> None:
    """Versions v1, v2, ..., a day apart, each published."""
    for number in range(1, count + 1):
        build_version(artifacts, f"v{number}", seed=number, created_at=f"2026-02-0{number}T00:00:00+00:00")


def test_a_version_that_is_removed_while_it_is_hashed_is_not_published(
    artifacts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = Layout(artifacts)
    build_days(artifacts, 3)
    check = verify

    def slow(version: Version) -> None:
        check(version)
        assert prune(layout, keep=2) == ["a", "v1"]

    with monkeypatch.context() as patch:
        patch.setattr(store, "verify", slow)
        with pytest.raises(NotFound, match="'v1'"):
            publish(layout, "v1")
    assert (name_in(layout.current), name_in(layout.previous)) == ("v3", "v2")


def test_a_version_that_is_published_while_others_are_removed_stays(
    artifacts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = Layout(artifacts)
    build_days(artifacts, 4)
    remove = shutil.rmtree

    def slow(folder: Path, *arguments: bool, **named: bool) -> None:
        if folder.name == "removed-a" and folder.exists():
            publish(layout, "v1")
        remove(folder, *arguments, **named)

    monkeypatch.setattr(shutil, "rmtree", slow)
    assert prune(layout, keep=2) == ["a", "v2"]
    assert (name_in(layout.current), name_in(layout.previous)) == ("v1", "v4")
    verify(open_version(layout, "v1"))


def test_pointers_are_read_where_nothing_can_be_written(artifacts: Path) -> None:
    layout = Layout(artifacts)
    layout.pointers.unlink()
    assert name_in(layout.current) == "a"
    verify(open_version(layout, "a"))
    assert not layout.pointers.exists()


BAD_POINTERS = [b"", b"a", b"a b", b"../a " + b"0" * 64, b"a " + b"0" * 63, b"a " + b"0" * 64 + b" c", b"\xff\xfe\x00"]


@pytest.mark.parametrize("content", BAD_POINTERS)
def test_a_pointer_of_bad_content_is_corrupt(artifacts: Path, content: bytes) -> None:
    layout = Layout(artifacts)
    layout.current.write_bytes(content)
    with pytest.raises(CorruptArtifact, match="CURRENT"):
        read_pointer(layout.current)


@pytest.mark.parametrize("content", BAD_POINTERS)
def test_publishing_repairs_a_bad_pointer(artifacts: Path, content: bytes) -> None:
    layout = Layout(artifacts)
    layout.current.write_bytes(content)
    publish(layout, "a")
    assert name_in(layout.current) == "a"


def test_versions_are_listed_by_age_and_an_unreadable_one_comes_first(artifacts: Path) -> None:
    build_version(artifacts, "later", created_at="2027-01-01T00:00:00+00:00", publish=False)
    build_version(artifacts, "earlier", created_at="2025-01-01T00:00:00+00:00", publish=False)
    layout = Layout(artifacts)
    assert list_versions(layout) == ["earlier", "a", "later"]
    layout.version("later").manifest.write_bytes(b"{")
    assert list_versions(layout) == ["later", "earlier", "a"]
    assert list_versions(Layout(artifacts / "nowhere")) == []


def test_a_folder_with_another_kind_of_name_is_no_version(artifacts: Path) -> None:
    layout = Layout(artifacts)
    shutil.copytree(layout.version("a").root, layout.versions / "old copy")
    assert list_versions(layout) == ["a"]
    build_version(artifacts, "b", seed=1)
    assert prune(layout, keep=1) == []
    assert (layout.versions / "old copy").is_dir()


def test_an_encoder_that_is_half_removed_does_not_look_whole(artifacts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = Layout(artifacts)
    old = open_version(layout, "a").encoder.root
    for number in (1, 2):
        build_version(artifacts, f"v{number}", seed=number, encoder_seed=1)
    remove = shutil.rmtree

    def die(folder: Path, *arguments: bool, **named: bool) -> None:
        if folder.exists() and (folder / "encoder.onnx").exists():
            (folder / "encoder.onnx").unlink()
            raise KeyboardInterrupt
        remove(folder, *arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", die)
        with pytest.raises(KeyboardInterrupt):
            prune(layout, keep=1)
    assert not old.exists()
    assert [path.name for path in layout.work.iterdir()] == [f"removed-encoder-{old.name}"]
    remove_leftovers(layout)
    assert list(layout.work.iterdir()) == []


def test_prune_keeps_the_newest_and_what_the_pointers_name(artifacts: Path) -> None:
    layout = Layout(artifacts)
    for number in range(1, 6):
        build_version(
            artifacts, f"v{number}", created_at=f"2026-02-0{number}T00:00:00+00:00", encoder_seed=number, publish=False
        )
    publish(layout, "v1")  # CURRENT v1, PREVIOUS a: the two oldest
    assert prune(layout, keep=2) == ["v2", "v3"]
    assert list_versions(layout) == ["a", "v1", "v4", "v5"]
    assert len(list(layout.encoders.iterdir())) == 4
    for name in list_versions(layout):
        verify(open_version(layout, name))
    assert list(layout.work.iterdir()) == []


def test_prune_to_nothing_still_keeps_what_the_pointers_name(artifacts: Path) -> None:
    build_version(artifacts, "b", seed=1)
    build_version(artifacts, "c", seed=2)
    assert prune(Layout(artifacts), keep=0) == ["a"]


def test_prune_removes_nothing_while_a_pointer_cannot_be_read(artifacts: Path) -> None:
    layout = Layout(artifacts)
    build_version(artifacts, "b", seed=1, publish=False)
    layout.current.write_text("?")
    with pytest.raises(CorruptArtifact):
        prune(layout, keep=0)
    assert set(list_versions(layout)) == {"a", "b"}
