"""Uploads the versions that an artifact folder names: all files first, each checked, and CURRENT last."""

from __future__ import annotations

import logging

from twotower.artifact.layout import Layout
from twotower.artifact.pointer import Pointer, read_experiment_pointers, read_pointer
from twotower.artifact.version import check_file, open_version
from twotower.errors import Conflict, NotFound
from twotower.storage.names import CURRENT, EXPERIMENTS, PREVIOUS, files_of, key_of
from twotower.storage.remote import Remote, StorageFailed

log = logging.getLogger(__name__)


def push(layout: Layout, remote: Remote) -> bool:
    """Makes the storage name what CURRENT, PREVIOUS and EXPERIMENTS name here. Returns False if it does already.

    A push that was interrupted names nothing new; the next one uploads what is missing. Raises NotFound without a
    CURRENT, CorruptArtifact for a damaged file, and StorageFailed.
    """
    current = read_pointer(layout.current)
    if current is None:
        raise NotFound(f"there is no {layout.current}: publish a version first")
    previous, tested = read_pointer(layout.previous), read_experiment_pointers(layout.experiments)
    for pointer in dict.fromkeys([current, *tested, *([previous] if previous else [])]):
        if _upload(layout, remote, pointer):
            log.info(f"uploaded {pointer.version} to {remote.url}")
    changed = [
        _name(remote, EXPERIMENTS, tested),
        _name(remote, PREVIOUS, [previous] if previous else []),
        _name(remote, CURRENT, [current]),
    ]
    return any(changed)


def _upload(layout: Layout, remote: Remote, pointer: Pointer) -> bool:
    """Uploads a version unless it is there. Its manifest goes last: where it is, all files are."""
    version = open_version(layout, pointer.version, pointer.manifest_sha256)
    manifest, key = version.layout.manifest.read_bytes(), key_of(layout, version.layout.manifest)
    found = remote.read(key)
    if found == manifest:
        return False
    if found is not None:
        # CURRENT may name that one: its files must not change one by one
        raise Conflict(f"{remote.url_of(key)} is of another version with the same name")
    sizes: dict[str, int] = {}
    for folder in (version.layout.root, version.layout.private, version.encoder.root):
        sizes |= remote.sizes(key_of(layout, folder))
    for path, entry in files_of(version, private=True):
        file_key = key_of(layout, path)
        # an interrupted push may have left it
        if sizes.get(file_key) == entry.size and remote.holds(file_key, entry):
            continue
        check_file(path, entry)
        remote.upload(path, file_key)
        if not remote.holds(file_key, entry):
            raise StorageFailed(f"{remote.url_of(file_key)} is not what was uploaded: sha256 {entry.sha256} is wanted")
    remote.write(key, manifest)
    return True


def _name(remote: Remote, key: str, pointers: list[Pointer]) -> bool:
    """Writes a file of pointers if it is another. Returns whether it was."""
    content = "".join(f"{one.version} {one.manifest_sha256}\n" for one in pointers).encode()
    if (remote.read(key) or b"") == content:
        return False
    remote.write(key, content)
    return True
