"""What every way to a new version has in common: the locks of its folders, a free name, and the check by loading."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

from twotower.artifact.layout import Layout
from twotower.artifact.pointer import read_pointer
from twotower.artifact.retention import list_versions, named_versions, remove_versions
from twotower.artifact.version import open_version
from twotower.errors import CorruptArtifact


def remove_earlier(layout: Layout, trained: str) -> list[str]:
    """Removes earlier refreshes of the same model but CURRENT and PREVIOUS: those of a day must not push out the
    versions before the model, to which a shop may want to go back."""
    kept = named_versions(layout) | {trained}
    earlier = [name for name in list_versions(layout) if name not in kept and _is_of(layout, name, trained)]
    return remove_versions(layout, earlier)


def _is_of(layout: Layout, name: str, trained: str) -> bool:
    try:
        return open_version(layout, name).trained_as == trained
    except CorruptArtifact:
        return False


def current_name(layout: Layout) -> str:
    """What CURRENT names; empty where it names nothing, or is damaged and so about to be repaired by publishing."""
    try:
        pointer = read_pointer(layout.current)
    except CorruptArtifact:
        return ""
    return pointer.version if pointer else ""


def free_name(layout: Layout, wanted: str) -> str:
    """`wanted`, or with a number behind it where a version was made in the same second."""
    names = (wanted if number == 1 else f"{wanted}-{number}" for number in itertools.count(1))
    return next(name for name in names if not layout.version(name).root.exists())


def keep_newest(folder: Path, keep: int) -> None:
    """Removes all but the `keep` entries of one of the trainer's own folders that were used last."""
    if folder.is_dir():
        for old in sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime)[:-keep]:
            shutil.rmtree(old) if old.is_dir() else old.unlink()
