"""Which versions are on disk, and the removal of old ones with the encoders that only they used."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from twotower.artifact.layout import Layout, VersionLayout
from twotower.artifact.pointer import pointers_locked, read_pointer
from twotower.artifact.version import NAME, open_version
from twotower.errors import CorruptArtifact, NotFound


def list_versions(layout: Layout) -> list[str]:
    """Names of the versions on disk, oldest first (by the creation time in their manifests).

    A folder with another kind of name, such as a copy that somebody made, is not one of them.
    """
    if not layout.versions.is_dir():
        return []
    found = []
    for folder in layout.versions.iterdir():
        manifest = VersionLayout(folder).manifest
        if NAME.match(folder.name) and manifest.is_file():
            found.append((_created_at(manifest), folder.name))
    return [name for _, name in sorted(found)]


def _created_at(manifest: Path) -> str:
    """When a version was made; the empty string, so oldest of all, where its manifest cannot be read."""
    try:
        return str(json.loads(manifest.read_bytes()).get("created_at", ""))
    except (ValueError, AttributeError):
        return ""


def prune(layout: Layout, keep: int) -> list[str]:
    """Removes the oldest versions beyond the newest `keep`, never CURRENT or PREVIOUS, nor what these were trained as
    where they are refreshes of it; then unused encoders.

    Returns the names of the removed versions.
    """
    named = _kept(layout)
    return remove_versions(layout, [name for name in list_versions(layout)[: -keep or None] if name not in named])


def named_versions(layout: Layout) -> set[str]:
    """What CURRENT and PREVIOUS name."""
    return {pointer.version for path in (layout.current, layout.previous) if (pointer := read_pointer(path))}


def _kept(layout: Layout) -> set[str]:
    """What CURRENT and PREVIOUS name, and what these were trained as."""
    named = named_versions(layout)
    return named | {_trained_as(layout, name) for name in named}


def _trained_as(layout: Layout, name: str) -> str:
    try:
        return open_version(layout, name).trained_as
    except (CorruptArtifact, NotFound):
        return name


def remove_versions(layout: Layout, names: Sequence[str]) -> list[str]:
    """Removes versions, and then the encoders that no version names any more.

    One that CURRENT or PREVIOUS names or needs by now stays. Returns the names of those that are gone.
    """
    removed = [name for name in names if _remove_version(layout, name)]
    _prune_encoders(layout)
    return removed


def _remove_version(layout: Layout, name: str) -> bool:
    with pointers_locked(layout):
        if name in _kept(layout):
            return False
        leaving = _set_aside(layout, layout.version(name).root, name)
    shutil.rmtree(leaving)
    return True


def _set_aside(layout: Layout, folder: Path, name: str) -> Path:
    """Renames a folder that is to be removed: one that is half removed when the process dies must not look whole."""
    leaving = layout.work / f"removed-{name}"
    layout.work.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(leaving, ignore_errors=True)
    folder.rename(leaving)
    return leaving


def remove_encoder(layout: Layout, digest: str) -> None:
    """Removes a text encoder's folder, whole or not at all."""
    shutil.rmtree(_set_aside(layout, layout.encoder(digest).root, f"encoder-{digest}"))


def remove_leftovers(layout: Layout) -> None:
    """Removes what a writer or a remover that was killed has left; only where no other may be at work."""
    for pattern in ("version-*", "removed-*", "encoder-export"):
        for left in layout.work.glob(pattern):
            shutil.rmtree(left)


def _prune_encoders(layout: Layout) -> None:
    """Removes the encoders that no version names; none of them where one version cannot say what it names."""
    try:
        used = {open_version(layout, name).manifest.encoder_digest for name in list_versions(layout)}
    except CorruptArtifact:
        return
    if layout.encoders.is_dir():
        for folder in layout.encoders.iterdir():
            if folder.name not in used:
                remove_encoder(layout, folder.name)
