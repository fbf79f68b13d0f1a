"""Names of versions, and the removal of old refreshes and old work."""

from __future__ import annotations

import itertools
import shutil
from datetime import datetime
from pathlib import Path

from twotower.artifact.layout import Layout
from twotower.artifact.pointer import read_pointer
from twotower.artifact.retention import list_versions, named_versions, remove_versions
from twotower.artifact.version import open_version
from twotower.errors import CorruptArtifact


def remove_earlier(layout: Layout, trained: str) -> list[str]:
    """Removes the earlier refreshes of a model, except CURRENT and PREVIOUS; returns their names.

    A day's refreshes must not push out the versions of older models: a shop may roll back to these.
    """
    kept = named_versions(layout) | {trained}
    earlier = [name for name in list_versions(layout) if name not in kept and _is_refresh_of(layout, name, trained)]
    return remove_versions(layout, earlier)


def _is_refresh_of(layout: Layout, name: str, trained: str) -> bool:
    try:
        return open_version(layout, name).trained_as == trained
    except CorruptArtifact:
        return False


def current_name(layout: Layout) -> str:
    """The version that CURRENT names; "" if there is none or CURRENT is damaged, which publishing repairs."""
    try:
        pointer = read_pointer(layout.current)
    except CorruptArtifact:
        return ""
    return pointer.version if pointer else ""


def new_name(layout: Layout, created: datetime, suffix: str) -> str:
    """A new version's name: the second, the suffix, and a number if that name is taken."""
    wanted = f"{created:%Y%m%dT%H%M%SZ}-{suffix}"[:60]
    names = (wanted if number == 1 else f"{wanted}-{number}" for number in itertools.count(1))
    return next(name for name in names if not layout.version(name).root.exists())


def keep_newest(folder: Path, keep: int) -> None:
    """Removes all entries of a folder except the `keep` that were used last."""
    if folder.is_dir():
        for old in sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime)[:-keep]:
            shutil.rmtree(old) if old.is_dir() else old.unlink()
