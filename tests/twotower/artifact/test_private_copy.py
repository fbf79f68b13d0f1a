"""Private copies: whole, verified, shared between processes, and removed when nobody uses them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.helpers.tiny_version import build_version
from twotower.artifact import private_copy
from twotower.artifact.layout import Layout
from twotower.artifact.private_copy import CopyCache
from twotower.artifact.version import Version, describe, open_version, verify
from twotower.errors import CorruptArtifact, SettingsError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def copy(cache: CopyCache, artifacts: Path, name: str = "a") -> tuple[Version, Version, str]:
    """The version in the artifact folder, its copy, and the hash of its manifest."""
    version = open_version(Layout(artifacts), name)
    sha256 = describe(version.layout.manifest).sha256
    return version, cache.copy_of(version, sha256), sha256


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_checked_file_is_a_whole_copy_that_later_changes_do_not_reach(artifacts: Path, folder: Path) -> None:
    original, copied, _ = copy(CopyCache(folder), artifacts)
    verify(copied)
    wanted = {name: entry.sha256 for name, entry in original.manifest.files.items()}
    for path in original.layout.root.iterdir():
        os.truncate(path, 0)
    assert {name: describe(copied.layout.root / name).sha256 for name in wanted} == wanted
    for name, entry in original.manifest.encoder_files.items():
        assert describe(copied.encoder.root / name) == entry
        assert (copied.encoder.root / name).stat().st_nlink == 1
    assert {(copied.layout.root / name).stat().st_mode & 0o777 for name in wanted} == {0o444}


def test_only_the_files_that_are_checked_are_copied(artifacts: Path, folder: Path) -> None:
    _, copied, _ = copy(CopyCache(folder), artifacts)
    copied.check(copied.layout.vocab, copied.layout.ids)
    assert left(copied.layout.root) == [".copying", "product_ids.npy", "vocab.json"]
    assert left(copied.encoder.root) == []


def test_a_damaged_original_is_refused_by_name_and_leaves_nothing(artifacts: Path, folder: Path) -> None:
    cache = CopyCache(folder)
    original, copied, _ = copy(cache, artifacts)
    vocab = original.layout.vocab
    whole = vocab.read_bytes()
    damages = [(bytes(len(whole)), f"{vocab} has sha256"), (whole[:-1], f"{vocab} has {len(whole) - 1} bytes")]
    for content, wanted in damages:
        vocab.write_bytes(content)
        with pytest.raises(CorruptArtifact, match=wanted):
            copied.check(copied.layout.vocab)
    vocab.unlink()
    with pytest.raises(CorruptArtifact, match=f"{vocab} cannot be read: No such file"):
        copied.check(copied.layout.vocab)
    assert left(copied.layout.root) == [".copying"]
    vocab.write_bytes(whole)
    copied.check(copied.layout.vocab)
    assert copied.layout.vocab.read_bytes() == whole


def test_a_file_that_changes_while_it_is_copied_is_refused(
    artifacts: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, copied, _ = copy(CopyCache(folder), artifacts)

    def torn(source: Path, target: Path) -> bool:
        target.write_bytes(bytes(source.stat().st_size))
        return True

    monkeypatch.setattr(private_copy, "_reflink", torn)
    with pytest.raises(CorruptArtifact, match=r"vocab\.json has sha256"):
        copied.check(copied.layout.vocab)
    assert left(copied.layout.root) == [".copying"]


@pytest.mark.parametrize("damaged", [b"", b"?" * 10])
def test_a_torn_copy_in_the_cache_is_copied_again(artifacts: Path, folder: Path, damaged: bytes) -> None:
    original, copied, _ = copy(CopyCache(folder), artifacts)
    copied.layout.vocab.write_bytes(damaged)
    (copied.layout.root / ".new-vocab.json").write_bytes(b"what a killed process has left")
    copied.check(copied.layout.vocab)
    assert copied.layout.vocab.read_bytes() == original.layout.vocab.read_bytes()
    assert left(copied.layout.root) == [".copying", "vocab.json"]


def test_a_whole_copy_is_not_made_again_and_needs_no_original(artifacts: Path, folder: Path) -> None:
    original, copied, _ = copy(CopyCache(folder), artifacts)
    copied.check(copied.layout.vocab)
    before = copied.layout.vocab.stat().st_ino
    original.layout.vocab.unlink()
    _, other, _ = copy(CopyCache(folder), artifacts)
    other.check(other.layout.vocab)
    assert other.layout.vocab.stat().st_ino == before


def test_copies_that_no_process_holds_are_removed(artifacts: Path, folder: Path) -> None:
    """One cache stands for each process: locks belong to open files, not to processes."""
    build_version(artifacts, "b", seed=1)
    here, there = CopyCache(folder), CopyCache(folder)
    encoder = f"encoder-{open_version(Layout(artifacts), 'a').manifest.encoder_digest}"
    first, second = copy(here, artifacts, "a")[2], copy(here, artifacts, "b")[2]
    copy(there, artifacts, "b")
    assert there.keep([second]) == []
    assert here.keep([second]) == [f"version-{first}"]
    assert here.keep([]) == []  # the other process still holds b
    assert left(folder) == sorted([encoder, f"{encoder}.lock", f"version-{second}", f"version-{second}.lock"])
    assert there.keep([]) == sorted([encoder, f"version-{second}"])
    assert left(folder) == []


def test_what_a_killed_process_held_is_removed_by_the_next(artifacts: Path, folder: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from twotower.artifact.layout import Layout;"
        "from twotower.artifact.private_copy import CopyCache; from twotower.artifact.version import *;"
        "version = open_version(Layout(Path(sys.argv[1])), 'a');"
        "verify(CopyCache(Path(sys.argv[2])).copy_of(version, 'f' * 64)); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(artifacts), str(folder)], check=False).returncode == -9
    assert f"version-{'f' * 64}" in left(folder)
    assert CopyCache(folder).keep([])
    assert left(folder) == []


def test_holding_and_removing_at_once_never_removes_a_held_copy(artifacts: Path, folder: Path) -> None:
    stop, problems = threading.Event(), list[BaseException]()

    def remove() -> None:
        cache = CopyCache(folder)
        while not stop.is_set():
            cache.keep([])

    def use() -> None:
        cache = CopyCache(folder)
        try:
            for _ in range(100):
                _, copied, sha256 = copy(cache, artifacts)
                copied.check(copied.layout.vocab)
                assert copied.layout.vocab.is_file()
                cache.keep([])
                assert sha256
        except BaseException as error:
            problems.append(error)

    users, remover = [threading.Thread(target=use) for _ in range(2)], threading.Thread(target=remove)
    for thread in (remover, *users):
        thread.start()
    for user in users:
        user.join()
    stop.set()
    remover.join()
    assert problems == []


def test_a_folder_that_cannot_be_written_is_refused_with_its_setting(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match=r"TWOTOWER_CACHE=.*/file/cache: Not a directory"):
        CopyCache(tmp_path / "file" / "cache")
