"""Lists the versions on disk; removes old ones, and the encoders that only they used."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from twotower.artifact.layout import Layout, VersionLayout
from twotower.artifact.pointer import pointers_locked, read_experiment_pointers, read_pointer
from twotower.artifact.version import NAME, open_version
from twotower.errors import CorruptArtifact, NotFound


def list_versions(layout: Layout) -> list[str]:
    """Names of the versions on disk, oldest first (by the creation time in their manifests).

    Skips folders whose names cannot be versions' names, such as a copy.
    """
    if not layout.versions.is_dir():
        return []
    versions = []
    for folder in layout.versions.iterdir():
        manifest = VersionLayout(folder).manifest
        if NAME.match(folder.name) and manifest.is_file():
            versions.append((_created_at(manifest), folder.name))
    return [name for _, name in sorted(versions)]


def _created_at(manifest: Path) -> str:
    """The creation time of a version; "" if its manifest cannot be read, which counts as the oldest."""
    try:
        return str(json.loads(manifest.read_bytes()).get("created_at", ""))
    except (ValueError, AttributeError):
        return ""


def prune(layout: Layout, keep: int) -> list[str]:
    """Removes all but the newest `keep` versions, then unused encoders. Returns the names of the removed versions.

    What CURRENT, PREVIOUS and EXPERIMENTS name always stays, and so do the trained versions that they are refreshes of.
    """
    kept = _kept(layout)
    return remove_versions(layout, [name for name in list_versions(layout)[: -keep or None] if name not in kept])


def named_versions(layout: Layout) -> set[str]:
    """The versions that CURRENT, PREVIOUS and EXPERIMENTS name."""
    pointers = [read_pointer(layout.current), read_pointer(layout.previous)]
    pointers += read_experiment_pointers(layout.experiments)
    return {pointer.version for pointer in pointers if pointer}


def _kept(layout: Layout) -> set[str]:
    """The versions that CURRENT, PREVIOUS and EXPERIMENTS name, and the ones that these were trained as."""
    named = named_versions(layout)
    return named | {_trained_as(layout, name) for name in named}


def _trained_as(layout: Layout, name: str) -> str:
    try:
        return open_version(layout, name).trained_as
    except (CorruptArtifact, NotFound):
        return name


def remove_versions(layout: Layout, names: Sequence[str]) -> list[str]:
    """Removes versions, then the encoders that no version names any more. Returns the names of the removed versions.

    A version stays if CURRENT, PREVIOUS or EXPERIMENTS has come to name or need it.
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
    shutil.rmtree(layout.version(name).private, ignore_errors=True)
    return True


def _set_aside(layout: Layout, folder: Path, name: str) -> Path:
    """Renames a folder before its removal: if the process dies halfway, the rest must not look whole."""
    leaving = layout.work / f"removed-{name}"
    layout.work.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(leaving, ignore_errors=True)
    folder.rename(leaving)
    return leaving


def remove_encoder(layout: Layout, digest: str) -> None:
    """Removes a text encoder's folder, as a whole or not at all."""
    shutil.rmtree(_set_aside(layout, layout.encoder(digest).root, f"encoder-{digest}"))


def remove_leftovers(layout: Layout) -> None:
    """Removes what killed writers and removers have left. Call it only while no other can be at work."""
    for pattern in ("version-*", "removed-*", "encoder-export"):
        for left in layout.work.glob(pattern):
            shutil.rmtree(left)
    if layout.private.is_dir():
        for folder in layout.private.iterdir():
            # the event log lies among the private folders of versions
            if folder.is_dir() and folder != layout.log and not layout.version(folder.name).root.exists():
                shutil.rmtree(folder)


def _prune_encoders(layout: Layout) -> None:
    """Removes the encoders that no version names; none of them if a version's manifest cannot be read."""
    try:
        used = {open_version(layout, name).manifest.encoder_digest for name in list_versions(layout)}
    except CorruptArtifact:
        return
    if layout.encoders.is_dir():
        for folder in layout.encoders.iterdir():
            if folder.name not in used:
                remove_encoder(layout, folder.name)
