"""Writes a version whole or not at all, and publishes it."""

from __future__ import annotations

import shutil
from collections.abc import Callable

from twotower.artifact.fsync import sync, sync_folder
from twotower.artifact.layout import Layout, VersionLayout
from twotower.artifact.manifest import Manifest
from twotower.artifact.pointer import Pointer, pointers_locked, read_to_repair, write_pointer
from twotower.artifact.version import NAME, Version, describe, open_version, verify
from twotower.errors import Overtaken


def publish(layout: Layout, name: str, expected: Pointer | None = None) -> Pointer:
    """Names an existing version in CURRENT, and what CURRENT named before in PREVIOUS; by rename, in that order.

    Every file of the version is hashed first: CorruptArtifact leaves both pointers as they were. So does Overtaken,
    where CURRENT is not what is `expected` (None: whatever it is).
    """
    version = open_version(layout, name)
    pointer = Pointer(name, describe(version.layout.manifest).sha256)
    verify(version)
    with pointers_locked(layout):
        # hashing takes long enough for a trainer to have removed it
        open_version(layout, name, pointer.manifest_sha256)
        before = read_to_repair(layout.current)
        if expected is not None and before != expected:
            raise Overtaken(
                f"CURRENT names {before.version if before else 'nothing'} by now, not {expected.version}, of which "
                f"{name} was made: it is not published; run it again"
            )
        if before == pointer:
            return pointer
        if before is not None:
            write_pointer(layout.previous, before)
        write_pointer(layout.current, pointer)
    return pointer


def write_version(
    layout: Layout,
    name: str,
    fill: Callable[[VersionLayout], Manifest],
    check: Callable[[Version], None] = lambda version: None,
) -> Version:
    """Writes a version folder so that nobody ever sees half of it, or one that cannot be used.

    `fill` writes every file into a temporary folder and returns the manifest (its `files` are filled in here); the
    folder is fsynced, given to `check`, which raises where it should not be there, and renamed into `versions/`. On any
    error the temporary folder is removed.
    """
    if not NAME.match(name):
        raise ValueError(f"{name!r} is not a version name")
    if layout.version(name).root.exists():
        raise FileExistsError(f"version {name!r} exists already in {layout.versions}")
    layout.versions.mkdir(parents=True, exist_ok=True)
    layout.work.mkdir(parents=True, exist_ok=True)
    temporary = VersionLayout(layout.work / f"version-{name}")
    shutil.rmtree(temporary.root, ignore_errors=True)
    temporary.root.mkdir()
    try:
        manifest = fill(temporary)
        files = {path.name: describe(path) for path in sorted(temporary.root.iterdir())}
        manifest = manifest.model_copy(update={"files": files})
        temporary.manifest.write_text(manifest.model_dump_json(indent=1), encoding="utf-8")
        sync_folder(temporary.root)
        check(Version(manifest, temporary, layout.encoder(manifest.encoder_digest)))
        temporary.root.rename(layout.version(name).root)
        sync(layout.versions)
    except BaseException:
        shutil.rmtree(temporary.root, ignore_errors=True)
        raise
    return open_version(layout, name)
