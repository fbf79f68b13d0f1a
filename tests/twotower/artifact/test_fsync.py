"""Files and folders are replaced whole or not at all, and only after they are on disk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from twotower.artifact.fsync import write_atomically, write_json


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    path.write_text("old")
    write_json(path, {"title": "خاتم"})
    assert path.read_text(encoding="utf-8") == '{\n "title": "خاتم"\n}'
    assert names(tmp_path) == ["metrics.json"]


@pytest.mark.parametrize("error", [OSError("no space left on device"), KeyboardInterrupt()])
def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "weights"
    path.write_text("old")
    with pytest.raises(type(error)), write_atomically(path) as temporary:
        temporary.write_text("half")
        raise error
    assert (path.read_text(), names(tmp_path)) == ("old", ["weights"])


def test_a_folder_is_replaced_with_all_that_is_in_it(tmp_path: Path) -> None:
    path = tmp_path / "encoder"
    for content in ("old", "new"):
        with write_atomically(path) as temporary:
            (temporary / "inner").mkdir(parents=True)
            (temporary / "inner" / content).write_text(content)
    assert (names(tmp_path), names(path / "inner")) == (["encoder"], ["new"])


def test_an_error_leaves_the_old_folder(tmp_path: Path) -> None:
    path = tmp_path / "encoder"
    (path / "old").mkdir(parents=True)
    with pytest.raises(OSError, match="full"), write_atomically(path) as temporary:
        temporary.mkdir()
        raise OSError("full")
    assert (names(tmp_path), names(path)) == (["encoder"], ["old"])


@pytest.mark.parametrize("folder", [False, True])
def test_what_a_killed_writer_left_is_replaced(tmp_path: Path, folder: bool) -> None:
    left = tmp_path / ".new-file"
    if folder:
        left.mkdir()
        (left / "half").write_text("half")
    else:
        left.write_text("half")
    with write_atomically(tmp_path / "file") as temporary:
        temporary.write_text("whole")
    assert ((tmp_path / "file").read_text(), names(tmp_path)) == ("whole", ["file"])


def test_the_content_is_on_disk_before_the_rename_and_the_rename_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    open_, fsync, replace = os.open, os.fsync, Path.replace
    opened: dict[int, str] = {}

    def note_open(path: Path, flags: int) -> int:
        handle = open_(path, flags)
        opened[handle] = Path(path).name
        return handle

    def note_fsync(handle: int) -> None:
        fsync(handle)
        done.append(opened[handle])

    def note_replace(path: Path, target: Path) -> Path:
        done.append("rename")
        return replace(path, target)

    monkeypatch.setattr(os, "open", note_open)
    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(Path, "replace", note_replace)
    with write_atomically(tmp_path / "folder") as temporary:
        temporary.mkdir()
        (temporary / "file").write_bytes(b"x")
    assert done == ["file", ".new-folder", "rename", tmp_path.name]
