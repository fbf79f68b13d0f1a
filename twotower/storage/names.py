"""The keys below a storage URL. They are the paths of an artifact folder."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from twotower.artifact.layout import Layout
from twotower.artifact.manifest import FileEntry
from twotower.artifact.version import Version
from twotower.errors import CorruptArtifact

CURRENT, PREVIOUS, EXPERIMENTS = "CURRENT", "PREVIOUS", "EXPERIMENTS"


def key_of(layout: Layout, path: Path) -> str:
    return path.relative_to(layout.root).as_posix()


def files_of(version: Version, *, private: bool) -> Iterator[tuple[Path, FileEntry]]:
    """Every file of a version and of its text encoder, but the manifest; `private`: what names buyers, too.

    Raises CorruptArtifact for a name that would lead out of its folder: a store's manifest may be forged.
    """
    manifest, layout = version.manifest, version.layout
    if not re.fullmatch("[0-9a-f]{64}", manifest.encoder_digest):
        raise CorruptArtifact(f"{layout.manifest}: encoder_digest {manifest.encoder_digest[:80]!r} is no sha256")
    folders = [(version.encoder.root, manifest.encoder_files), (layout.root, manifest.files)]
    if private:
        folders.append((layout.private, manifest.private_files))
    for folder, entries in folders:
        for name, entry in entries.items():
            if name in ("", ".", "..") or "/" in name or "\0" in name:
                raise CorruptArtifact(f"{layout.manifest}: {name[:80]!r} is no file name")
            yield folder / name, entry
