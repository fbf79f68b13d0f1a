"""Writes a version as a whole or not at all, and publishes it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from twotower.artifact.fsync import sync, sync_folder
from twotower.artifact.layout import Layout, VersionLayout
from twotower.artifact.manifest import FileEntry, Manifest
from twotower.artifact.pointer import Pointer, change_pointers, pointers_locked, read_to_repair
from twotower.artifact.version import NAME, Version, describe, open_version, verify
from twotower.errors import Overtaken


def publish(layout: Layout, name: str, expected: Pointer | None = None) -> Pointer:
    """Names an existing version in CURRENT, and the version that CURRENT named before in PREVIOUS.

    Hashes every file of the version first. Raises CorruptArtifact if one is damaged, and Overtaken if CURRENT is not
    `expected` (None expects nothing); both pointers then stay as they were.
    """
    version = open_version(layout, name)
    pointer = Pointer(name, describe(version.layout.manifest).sha256)
    verify(version)
    with pointers_locked(layout):
        # a trainer may have removed the version while it was hashed
        open_version(layout, name, pointer.manifest_sha256)
        before = read_to_repair(layout.current)
        if expected is not None and before != expected:
            raise Overtaken(
                f"CURRENT names {before.version if before else 'nothing'} by now, not {expected.version}: {name} is a "
                f"refresh of {expected.version} and is not published; run it again"
            )
        if before == pointer:
            return pointer
        change_pointers(layout, pointer)
    return pointer


def write_version(
    layout: Layout,
    name: str,
    fill: Callable[[VersionLayout], Manifest],
    check: Callable[[Version], None] = lambda version: None,
) -> Version:
    """Writes a version folder that appears only when it is complete and passes `check`.

    `fill` writes every file into a temporary folder and returns the manifest, whose `files` are filled in here. The
    folder is forced to disk, then `check` may raise, then the folder is renamed into `versions/`. What names buyers
    goes the same way into `private/`, first, and its owner alone may read it. Any error removes the temporary folders.
    """
    if not NAME.match(name):
        raise ValueError(f"{name!r} is not a version name")
    if layout.version(name).root.exists():
        raise FileExistsError(f"version {name!r} already exists in {layout.versions}")
    layout.versions.mkdir(parents=True, exist_ok=True)
    layout.work.mkdir(parents=True, exist_ok=True)
    temporary = VersionLayout(layout.work / f"version-{name}")
    layout.private.mkdir(mode=0o700, exist_ok=True)
    # a writer that was killed between the two renames has left a private folder without a version
    for folder in (temporary.root, temporary.private, layout.version(name).private):
        shutil.rmtree(folder, ignore_errors=True)
    temporary.root.mkdir()
    temporary.private.mkdir(mode=0o700)
    try:
        manifest = fill(temporary)
        for path in temporary.private.iterdir():
            path.chmod(0o600)
        manifest = manifest.model_copy(
            update={"files": _describe_all(temporary.root), "private_files": _describe_all(temporary.private)}
        )
        temporary.manifest.write_text(manifest.model_dump_json(indent=1), encoding="utf-8")
        sync_folder(temporary.root)
        sync_folder(temporary.private)
        check(Version(manifest, temporary, layout.encoder(manifest.encoder_digest)))
        temporary.private.rename(layout.version(name).private)
        sync(layout.private)
        temporary.root.rename(layout.version(name).root)
        sync(layout.versions)
    except BaseException:
        shutil.rmtree(temporary.root, ignore_errors=True)
        shutil.rmtree(temporary.private, ignore_errors=True)
        raise
    return open_version(layout, name)


def _describe_all(folder: Path) -> dict[str, FileEntry]:
    return {path.name: describe(path) for path in sorted(folder.iterdir())}
