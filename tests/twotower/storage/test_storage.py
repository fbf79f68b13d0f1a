"""What push and pull leave in a storage and in an artifact folder, through fsspec's memory and local files."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from tests.helpers.tiny_version import build_version
from twotower.artifact.layout import Layout
from twotower.artifact.pointer import pointers_locked, read_pointer, write_experiment_pointers
from twotower.artifact.retention import list_versions
from twotower.artifact.version import open_version, verify
from twotower.errors import Conflict, CorruptArtifact, NotFound, SettingsError
from twotower.storage.pull import Puller
from twotower.storage.push import push
from twotower.storage.remote import Remote, StorageFailed


@pytest.fixture
def url() -> Iterator[str]:
    fsspec.filesystem("memory").store.clear()
    yield "memory://shop/prefix"
    fsspec.filesystem("memory").store.clear()


def stored() -> dict[str, bytes]:
    files = fsspec.filesystem("memory")
    return {name.removeprefix("/shop/prefix/"): files.cat_file(name) for name in files.store}


def name_in(path: Path) -> str:
    pointer = read_pointer(path)
    return pointer.version if pointer else ""


def check_whole(layout: Layout, name: str) -> None:
    verify(open_version(layout, name))


def test_a_storage_holds_the_files_of_the_artifact_folder_under_the_same_names(artifacts: Path, url: str) -> None:
    assert push(Layout(artifacts), Remote(url))
    wanted = {
        str(path.relative_to(artifacts)): path.read_bytes()
        for folder in ("versions", "encoders", "private")
        for path in (artifacts / folder).rglob("*")
        if path.is_file()
    }
    pointer = read_pointer(artifacts / "CURRENT")
    assert pointer is not None
    found = stored()
    assert found.pop("CURRENT") == f"a {pointer.manifest_sha256}\n".encode()
    assert found == wanted


def test_a_pulled_folder_names_the_same_versions(artifacts: Path, url: str, tmp_path: Path) -> None:
    build_version(artifacts, "b", encoder_seed=1)
    push(Layout(artifacts), Remote(url))
    target = Layout(tmp_path / "target")
    assert Puller(target, Remote(url), private=True).pull()
    assert (name_in(target.current), name_in(target.previous)) == ("b", "a")
    for name in ("a", "b"):
        check_whole(target, name)


def test_push_and_pull_of_what_is_there_change_nothing(artifacts: Path, url: str, tmp_path: Path) -> None:
    layout, target = Layout(artifacts), Layout(tmp_path / "target")
    assert push(layout, Remote(url))
    assert not push(layout, Remote(url))
    puller = Puller(target, Remote(url))
    assert puller.pull()
    assert not puller.pull()
    assert not Puller(target, Remote(url)).pull()


def test_what_names_buyers_is_pulled_only_if_asked_for_and_only_its_owner_reads_it(
    artifacts: Path, url: str, tmp_path: Path
) -> None:
    push(Layout(artifacts), Remote(url))
    without, with_private = Layout(tmp_path / "without"), Layout(tmp_path / "with")
    Puller(without, Remote(url)).pull()
    assert not without.private.exists()
    Puller(with_private, Remote(url), private=True).pull()
    recent = with_private.version("a").recent
    assert recent.read_bytes() == Layout(artifacts).version("a").recent.read_bytes()
    assert stat.S_IMODE(recent.stat().st_mode) == 0o600
    assert stat.S_IMODE(with_private.private.stat().st_mode) == 0o700
    assert stat.S_IMODE(recent.parent.stat().st_mode) == 0o700


def test_versions_of_experiments_go_along(artifacts: Path, url: str, tmp_path: Path) -> None:
    layout, target = Layout(artifacts), Layout(tmp_path / "target")
    tested = read_pointer(layout.current)
    assert tested is not None
    for name in ("b", "c"):
        build_version(artifacts, name)
    with pointers_locked(layout):
        write_experiment_pointers(layout, [tested])
    push(layout, Remote(url))
    Puller(target, Remote(url)).pull()
    assert list_versions(target) == ["a", "b", "c"]
    assert target.experiments.read_text() == layout.experiments.read_text()


def test_a_rollback_is_pulled_like_a_publication(artifacts: Path, url: str, tmp_path: Path) -> None:
    layout, target = Layout(artifacts), Layout(tmp_path / "target")
    build_version(artifacts, "b")
    push(layout, Remote(url))
    puller = Puller(target, Remote(url))
    puller.pull()
    from twotower.artifact.store import publish

    publish(layout, "a")
    assert push(layout, Remote(url))
    assert puller.pull()
    assert (name_in(target.current), name_in(target.previous)) == ("a", "b")


def test_a_pull_removes_the_versions_that_it_brought_and_nobody_names(
    artifacts: Path, url: str, tmp_path: Path
) -> None:
    layout, target = Layout(artifacts), Layout(tmp_path / "target")
    build_version(target.root, "own", publish=False)
    puller = Puller(target, Remote(url))
    push(layout, Remote(url))
    puller.pull()
    for name in ("b", "c"):
        build_version(artifacts, name)
        push(layout, Remote(url))
        puller.pull()
    assert list_versions(target) == ["b", "c", "own"]


def test_a_damaged_file_of_a_pulled_folder_is_downloaded_again(artifacts: Path, url: str, tmp_path: Path) -> None:
    push(Layout(artifacts), Remote(url))
    target = Layout(tmp_path / "target")
    Puller(target, Remote(url), private=True).pull()
    for path in (target.version("a").ids, next(target.encoders.iterdir()) / "encoder.onnx", target.version("a").recent):
        path.write_bytes(b"damaged")
        assert Puller(target, Remote(url), private=True).pull()
        check_whole(target, "a")


def test_a_damaged_file_is_not_uploaded(artifacts: Path, url: str) -> None:
    layout = Layout(artifacts)
    content = layout.version("a").ids.read_bytes()
    layout.version("a").ids.write_bytes(bytes(len(content)))
    with pytest.raises(CorruptArtifact, match=r"product_ids\.npy has sha256"):
        push(layout, Remote(url))
    assert "CURRENT" not in stored() and "versions/a/manifest.json" not in stored()


def test_a_damaged_file_of_a_storage_is_refused_by_its_url(artifacts: Path, url: str, tmp_path: Path) -> None:
    push(Layout(artifacts), Remote(url))
    key = "versions/a/product_ids.npy"
    fsspec.filesystem("memory").pipe_file(f"/shop/prefix/{key}", b"damaged")
    target = Layout(tmp_path / "target")
    with pytest.raises(CorruptArtifact, match="product_ids"):
        Puller(target, Remote(url)).pull()
    assert not target.current.exists() and not target.version("a").root.exists()


def test_a_manifest_cannot_write_outside_its_folder(artifacts: Path, url: str, tmp_path: Path) -> None:
    import hashlib

    layout = Layout(artifacts)
    push(layout, Remote(url))
    forged = layout.version("a").manifest.read_bytes().replace(b'"config.yaml"', b'"../../evil"')
    files = fsspec.filesystem("memory")
    files.pipe_file("/shop/prefix/versions/a/manifest.json", forged)
    files.pipe_file("/shop/prefix/CURRENT", f"a {hashlib.sha256(forged).hexdigest()}\n".encode())
    with pytest.raises(CorruptArtifact, match=r"'\.\./\.\./evil' is no file name"):
        Puller(Layout(tmp_path / "target"), Remote(url)).pull()


def test_another_version_of_the_same_name_is_not_overwritten(artifacts: Path, url: str, tmp_path: Path) -> None:
    push(Layout(artifacts), Remote(url))
    before = stored()
    build_version(tmp_path / "other", "a", seed=1)
    with pytest.raises(Conflict, match=r"memory://shop/prefix/versions/a/manifest\.json is of another version"):
        push(Layout(tmp_path / "other"), Remote(url))
    assert stored() == before


def test_nothing_published_is_named_on_both_sides(tmp_path: Path, url: str) -> None:
    with pytest.raises(NotFound, match="publish a version first"):
        push(Layout(tmp_path), Remote(url))
    with pytest.raises(NotFound, match="no memory://shop/prefix/CURRENT yet"):
        Puller(Layout(tmp_path), Remote(url)).pull()


class Stopped(Exception):
    """Ends a push or a pull after so many files, as a kill would."""


def stop_after(monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...], count: int) -> None:
    """The next call of one of these methods of Remote, after `count` of them, raises Stopped."""
    left = [count]
    for name in names:
        original = getattr(Remote, name)

        def counted(*arguments: object, original: object = original) -> object:
            if left[0] == 0:
                raise Stopped
            left[0] -= 1
            assert callable(original)
            return original(*arguments)

        monkeypatch.setattr(Remote, name, counted)


def test_a_push_that_ends_anywhere_names_no_half_version_and_the_next_one_completes_it(
    artifacts: Path, url: str, tmp_path: Path
) -> None:
    layout = Layout(artifacts)
    push(layout, Remote(url))
    build_version(artifacts, "b", encoder_seed=1)
    writes, ended = 0, False
    while not ended:
        with pytest.MonkeyPatch.context() as patch:
            stop_after(patch, ("upload", "write"), 1)
            try:
                ended = push(layout, Remote(url))
            except Stopped:
                writes += 1
        named = stored()["CURRENT"].split()[0].decode()
        assert named == ("b" if ended else "a")
        if "versions/b/manifest.json" in stored():
            target = Layout(tmp_path / f"target-{writes}")
            Puller(target, Remote(url), private=True).pull()
            check_whole(target, named)
    manifest = open_version(layout, "b").manifest
    # one file a call, nothing twice: the files, the manifest, PREVIOUS, and CURRENT in the call that ended
    assert writes == len({**manifest.files, **manifest.encoder_files, **manifest.private_files}) + 2


def test_a_pull_that_ends_anywhere_names_no_half_version_and_the_next_one_completes_it(
    artifacts: Path, url: str, tmp_path: Path
) -> None:
    layout, target = Layout(artifacts), Layout(tmp_path / "target")
    push(layout, Remote(url))
    Puller(target, Remote(url)).pull()
    build_version(artifacts, "b", encoder_seed=1)
    push(layout, Remote(url))
    files = 0
    for _ in range(200):
        with pytest.MonkeyPatch.context() as patch:
            stop_after(patch, ("download",), 1)
            try:
                Puller(target, Remote(url)).pull()
                break
            except Stopped:
                files += 1
        assert name_in(target.current) == "a"
        assert list_versions(target) == ["a"]
    manifest = open_version(target, "b").manifest
    # one file a call: nothing is downloaded twice
    assert files == len(manifest.files) + len(manifest.encoder_files) - 1
    assert name_in(target.current) == "b"
    assert not [path for path in (target.work / "pull").rglob("*") if path.is_file()]


def test_a_folder_takes_and_gives_versions_too(artifacts: Path, tmp_path: Path) -> None:
    url, target = f"file://{tmp_path}/shared", Layout(tmp_path / "target")
    push(Layout(artifacts), Remote(url))
    Puller(target, Remote(url), private=True).pull()
    check_whole(target, "a")


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("shop/prefix", "must be s3://bucket/prefix"),
        ("s3://", "names no bucket"),
        ("s3://shop/prefix?versionId=3", "must not have"),
        ("nosuch://shop/prefix", "nosuch://shop/prefix"),
    ],
)
def test_an_unusable_url_is_named(url: str, problem: str) -> None:
    with pytest.raises(SettingsError, match=problem):
        Remote(url)


def test_credentials_in_a_url_are_refused_and_not_shown() -> None:
    with pytest.raises(SettingsError, match="holds no credentials") as raised:
        Remote("s3://someone:hunter2@shop/prefix")
    assert "hunter2" not in str(raised.value)


def test_a_folder_that_cannot_be_written_is_named(artifacts: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageFailed, match=r"file/x/versions/a/manifest\.json: NotADirectoryError"):
        push(Layout(artifacts), Remote(f"file://{tmp_path}/file/x"))
