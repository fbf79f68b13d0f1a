"""Downloads the versions that a storage names: all files first, each checked, and CURRENT last."""

from __future__ import annotations

import fcntl
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from twotower.artifact.fsync import sync, sync_folder, write_atomically
from twotower.artifact.layout import Layout
from twotower.artifact.manifest import FileEntry
from twotower.artifact.pointer import (
    Pointer,
    parse_pointer,
    pointers_locked,
    read_experiment_pointers,
    read_to_repair,
    write_experiment_pointers,
)
from twotower.artifact.retention import remove_versions
from twotower.artifact.version import Version, check_file, is_intact, open_version
from twotower.errors import Conflict, CorruptArtifact, NotFound
from twotower.storage.names import CURRENT, EXPERIMENTS, PREVIOUS, files_of, key_of
from twotower.storage.remote import Remote

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Named:
    """What the pointers of an artifact folder or of a storage name."""

    current: Pointer
    previous: Pointer | None
    tested: list[Pointer]

    @property
    def all(self) -> list[Pointer]:
        return list(dict.fromkeys([self.current, *([self.previous] if self.previous else []), *self.tested]))


class Puller:
    """Makes an artifact folder name what a storage names. `private` downloads what names buyers, too."""

    def __init__(self, layout: Layout, remote: Remote, *, private: bool = False) -> None:
        self._layout, self._remote, self._private = layout, remote, private
        # the same tree below work/: a version is renamed out of it once it is complete
        self._staging = Layout(layout.work / "pull")
        self._done: Named | None = None

    def pull(self) -> bool:
        """Returns False if the folder names the same already. The first call hashes what lies in the folder.

        Downloads only what is missing or damaged, after an interrupted pull too. Raises NotFound if the storage names
        no version, CorruptArtifact if it holds a damaged file, StorageFailed, and Conflict beside another pull.
        """
        named = self._read_pointers()
        if named == self._done:
            return False
        with self._alone():
            self._drop_stale(named)
            fetched = [self._fetch(pointer) for pointer in named.all]
            changed = self._switch(named)
            self._remove_superseded(named)
        self._done = named
        return changed or any(fetched)

    def _read_pointers(self) -> Named:
        current = self._pointers_in(CURRENT)
        if len(current) != 1:
            raise NotFound(f"there is no {self._remote.url_of(CURRENT)} yet: push a version first")
        previous = self._pointers_in(PREVIOUS)
        return Named(current[0], previous[0] if previous else None, self._pointers_in(EXPERIMENTS))

    def _pointers_in(self, key: str) -> list[Pointer]:
        content = self._remote.read(key) or b""
        where = self._remote.url_of(key)
        return [parse_pointer(line, where) for line in content.decode("utf-8", "replace").splitlines()]

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self._layout.work.mkdir(parents=True, exist_ok=True)
        with (self._layout.work / ".pull").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Conflict(f"another process downloads into {self._layout.root}") from None
            yield

    def _drop_stale(self, named: Named) -> None:
        """Removes what interrupted pulls have left of versions that nobody names any more."""
        wanted = {pointer.version for pointer in named.all}
        for folder in (self._staging.versions, self._staging.private):
            for left in folder.iterdir() if folder.is_dir() else ():
                if left.name not in wanted:
                    shutil.rmtree(left)

    def _fetch(self, pointer: Pointer) -> bool:
        """Downloads a version unless it lies here and is whole."""
        if self._is_whole(pointer):
            return False
        key = key_of(self._layout, self._layout.version(pointer.version).manifest)
        content = self._remote.read(key)
        if content is None:
            raise CorruptArtifact(f"{self._remote.url_of(key)} is missing, and a pointer names its version")
        staged = self._staging.version(pointer.version)
        staged.root.mkdir(parents=True, exist_ok=True)
        staged.manifest.write_bytes(content)
        version = open_version(self._staging, pointer.version, pointer.manifest_sha256)
        if self._private:
            for folder in (self._staging.private, version.layout.private):
                folder.mkdir(mode=0o700, exist_ok=True)
        for path, entry in files_of(version, private=self._private):
            self._fetch_file(path, entry)
        self._move(version)
        log.info(f"downloaded {pointer.version} from {self._remote.url}")
        return True

    def _is_whole(self, pointer: Pointer) -> bool:
        try:
            version = open_version(self._layout, pointer.version, pointer.manifest_sha256)
            for path, entry in files_of(version, private=self._private):
                check_file(path, entry)
        except NotFound:
            return False
        except CorruptArtifact as error:
            log.warning(f"downloading {pointer.version} again: {error}")
            return False
        return True

    def _fetch_file(self, path: Path, entry: FileEntry) -> None:
        if is_intact(path, entry) or is_intact(self._layout.root / key_of(self._staging, path), entry):
            return
        key = key_of(self._staging, path)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._remote.download(key, path)
        check_file(path, entry, shown=Path(self._remote.url_of(key)))

    def _move(self, version: Version) -> None:
        """Moves a complete version out of the staging tree: what it needs first, the version's own folder last."""
        source, target = version.layout, self._layout.version(version.name)
        marks = self._layout.work / "pulled"
        marks.mkdir(exist_ok=True)
        (marks / version.name).touch()
        moves = [(version.encoder.root, self._layout.encoder(version.manifest.encoder_digest).root)]
        if self._private:
            for path in source.private.iterdir():
                path.chmod(0o600)
            self._layout.private.mkdir(mode=0o700, exist_ok=True)
            moves.append((source.private, target.private))
        for staged, final in [*moves, (source.root, target.root)]:
            if staged.is_dir():
                self._replace(staged, final)

    def _replace(self, staged: Path, final: Path) -> None:
        """Moves the files of `staged` to `final`. A file there that is damaged is replaced; the others stay."""
        final.parent.mkdir(parents=True, exist_ok=True)
        sync_folder(staged)
        if not final.exists():
            staged.rename(final)
        else:
            for path in staged.iterdir():
                path.replace(final / path.name)
            sync(final)
            staged.rmdir()
        sync(final.parent)

    def _switch(self, named: Named) -> bool:
        """Writes the pointers, CURRENT last. Returns whether one has changed."""
        layout = self._layout
        with pointers_locked(layout):
            before = (
                read_to_repair(layout.current),
                read_to_repair(layout.previous),
                read_experiment_pointers(layout.experiments),
            )
            if before == (named.current, named.previous, named.tested):
                return False
            if named.tested or layout.experiments.exists():
                write_experiment_pointers(layout, named.tested)
            if named.previous is None:
                layout.previous.unlink(missing_ok=True)
            else:
                _write_pointer(layout.previous, named.previous)
            _write_pointer(layout.current, named.current)
        return True

    def _remove_superseded(self, named: Named) -> None:
        """Removes versions that a pull has brought and no pointer names; a trainer's own versions stay."""
        marks = self._layout.work / "pulled"
        wanted = {pointer.version for pointer in named.all}
        for mark in sorted(marks.iterdir()) if marks.is_dir() else ():
            if mark.name not in wanted:
                if self._layout.version(mark.name).root.exists():
                    remove_versions(self._layout, [mark.name])
                mark.unlink()


def _write_pointer(path: Path, pointer: Pointer) -> None:
    with write_atomically(path) as temporary:
        temporary.write_text(f"{pointer.version} {pointer.manifest_sha256}\n", encoding="utf-8")
