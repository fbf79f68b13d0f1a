"""Private copies of versions, in a cache folder that the services of a host share.

A service maps its files. Truncating a mapped file kills the process (SIGBUS), and writing into it changes answers, so
services map copies that only they know. The folder holds one folder for each version and each text encoder, named by
its hash, and a lock beside it: who holds the lock uses the copy. A copy without a holder is removed.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from twotower.artifact.layout import EncoderLayout, VersionLayout
from twotower.artifact.manifest import FileEntry
from twotower.artifact.version import Version, check_file, check_size, is_intact
from twotower.errors import SettingsError

# ioctl: makes a file share the blocks of another one until either is written (Btrfs, XFS, bcachefs)
_FICLONE = 0x40049409
# a file system that cannot, two file systems, or a system without this call
_NO_REFLINK = {errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ENOSYS, errno.EPERM}


class CopyCache:
    """The copies that this process holds. Other processes may use the same folder; methods may run in any thread, but
    only one at a time."""

    def __init__(self, folder: Path) -> None:
        """Raises SettingsError if the folder cannot be written."""
        self._folder = folder
        # manifest's sha256 -> the locks of the version's copy and of its encoder's
        self._held: dict[str, list[int]] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise SettingsError(
                f"TWOTOWER_CACHE={folder}: {error.strerror}; services keep private copies of the files that they map "
                "there (empty: they map the files of the artifact folder)"
            ) from None

    def copy_of(self, version: Version, manifest_sha256: str) -> Version:
        """The same version with its files in the cache. `check` copies a file before it is opened.

        The copy is held until `keep` is called without its hash.
        """
        names = [f"version-{manifest_sha256}", f"encoder-{version.manifest.encoder_digest}"]
        if manifest_sha256 not in self._held:
            self._held[manifest_sha256] = [_hold(self._folder / name) for name in names]
        layout, encoder = VersionLayout(self._folder / names[0]), EncoderLayout(self._folder / names[1])
        return replace(version, layout=layout, encoder=encoder, provide=partial(_provide, version, encoder))

    def keep(self, manifests: Collection[str]) -> list[str]:
        """Releases the copies of all other versions, then removes those that no process holds.

        Takes the manifests' sha256 and returns the names of the folders removed.
        """
        for manifest_sha256 in self._held.keys() - set(manifests):
            for lock in self._held.pop(manifest_sha256):
                os.close(lock)
        return [path.stem for path in sorted(self._folder.glob("*.lock")) if _remove_if_unheld(path)]


def _provide(source: Version, encoder: EncoderLayout, target: Path, entry: FileEntry) -> None:
    """Makes `target` a whole copy of the file of that name in `source`. Raises CorruptArtifact if that file is damaged.

    Processes take turns at the files of a folder, so that a file is copied once.
    """
    original = (source.encoder if target.parent == encoder.root else source.layout).root / target.name
    with _locked(target.parent / ".copying"):
        if is_intact(target, entry):
            return
        check_size(original, entry)
        temporary = target.with_name(f".new-{target.name}")
        temporary.unlink(missing_ok=True)
        try:
            if not _reflink(original, temporary):
                shutil.copyfile(original, temporary)
            check_file(temporary, entry, shown=original)
            temporary.chmod(0o444)
            # not forced to disk: after a crash the hash tells a torn copy, which is then copied again
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def _reflink(source: Path, target: Path) -> bool:
    """Whether `target` now shares the blocks of `source`."""
    with source.open("rb") as reading, target.open("xb") as writing:
        try:
            fcntl.ioctl(writing.fileno(), _FICLONE, reading.fileno())
        except OSError as error:
            if error.errno not in _NO_REFLINK:
                raise
            return False
    return True


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _hold(folder: Path) -> int:
    """Makes the folder of a copy and takes its lock together with other users; returns the lock's descriptor."""
    path = _lock_of(folder)
    while True:
        lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_SH)
            if _is_at(lock, path):
                folder.mkdir(exist_ok=True)
                return lock
        except BaseException:
            os.close(lock)
            raise
        # its last user removed the copy and the lock in between
        os.close(lock)


def _remove_if_unheld(path: Path) -> bool:
    """Removes the copy of a lock, and the lock, if nobody holds it."""
    try:
        lock = os.open(path, os.O_RDWR)
    except FileNotFoundError:  # another process removes it
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not _is_at(lock, path):
            return False
        folder = path.with_suffix("")
        if folder.is_dir():  # a process may hold the lock and not have created the folder yet
            shutil.rmtree(folder)
        path.unlink()
        return True
    except BlockingIOError:
        return False
    finally:
        os.close(lock)


def _lock_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")


def _is_at(lock: int, path: Path) -> bool:
    """Whether the open file is still the one at `path`."""
    try:
        return os.path.samestat(os.fstat(lock), path.stat())
    except FileNotFoundError:
        return False
