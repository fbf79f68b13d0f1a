"""CURRENT and PREVIOUS: read without a lock, changed under one.

A change works on a full disk, and a kill at any moment leaves two pointers that differ. It renames files and links them
for a moment; only a new version is written, into a spare file that has its block already. Afterwards the file of the
pointer that fell out is the next spare.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from twotower.artifact.fsync import sync, write_atomically
from twotower.artifact.layout import Layout
from twotower.artifact.version import NAME
from twotower.errors import CorruptArtifact

# more than the longest pointer, 130 bytes: a spare never changes its size
_SIZE = 256


@dataclass(frozen=True)
class Pointer:
    """The content of CURRENT or PREVIOUS, or a line of EXPERIMENTS: a version's name and the sha256 of its manifest."""

    version: str
    manifest_sha256: str


def read_pointer(path: Path) -> Pointer | None:
    """Returns the pointer in `path`, or None if there is no file. Raises CorruptArtifact if it is no pointer."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise CorruptArtifact(f"{path} cannot be read: {error}") from None
    return parse_pointer(text, path)


def read_experiment_pointers(path: Path) -> list[Pointer]:
    """Returns the versions that EXPERIMENTS names, none if there is no file. Raises CorruptArtifact."""
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise CorruptArtifact(f"{path} cannot be read: {error}") from None
    return [parse_pointer(line, path) for line in lines]


def write_experiment_pointers(layout: Layout, pointers: Sequence[Pointer]) -> None:
    """Names these versions in EXPERIMENTS, and no others. Call it with the lock held."""
    with write_atomically(layout.experiments) as temporary:
        temporary.write_text("".join(f"{one.version} {one.manifest_sha256}\n" for one in pointers))


def parse_pointer(text: str, where: Path | str) -> Pointer:
    """Reads one pointer. Raises CorruptArtifact, with `where` it stands, if the text is none."""
    parts = text.split()
    if len(parts) != 2 or not NAME.match(parts[0]) or not re.fullmatch(r"[0-9a-f]{64}", parts[1]):
        raise CorruptArtifact(f"{where} does not hold a version name and a sha256: {text[:100]!r}")
    return Pointer(parts[0], parts[1])


def read_to_repair(path: Path) -> Pointer | None:
    """Returns the pointer in `path`, or None if it is missing or damaged.

    Publishing repairs a damaged CURRENT, and leaves PREVIOUS alone then: it is the last version known to be good.
    """
    try:
        return read_pointer(path)
    except CorruptArtifact:
        return None


@contextmanager
def pointers_locked(layout: Layout) -> Iterator[None]:
    """Keeps others from changing a pointer or removing a version. Held for moments only.

    Completes a change that a killed process has left halfway.
    """
    with layout.pointers.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _complete(layout)
        yield


def change_pointers(layout: Layout, new: Pointer) -> None:
    """Names `new` in CURRENT, and the version that CURRENT named before in PREVIOUS. Call it with the lock held.

    A reader sees the old CURRENT or the new one. A damaged CURRENT is replaced, and PREVIOUS stays then, or is missing
    if `new` is what it named.
    """
    is_whole = read_to_repair(layout.current) is not None
    if is_back := read_to_repair(layout.previous) == new:
        source = layout.previous
    else:
        _write_spare(layout, new)
        source = layout.spare_pointer
    if is_whole:
        os.link(layout.current, layout.last_pointer)
    source.replace(layout.current)
    sync(layout.root)
    if is_whole:
        _name_last(layout)
    if not is_back:
        _restore_spare(layout)


def _name_last(layout: Layout) -> None:
    """Names the last CURRENT in PREVIOUS; the file of the PREVIOUS until now becomes the spare."""
    if layout.previous.exists() and not layout.spare_pointer.exists():
        os.link(layout.previous, layout.spare_pointer)
    layout.last_pointer.replace(layout.previous)
    sync(layout.root)


def _complete(layout: Layout) -> None:
    """Ends a change that was interrupted between its first link and its last rename."""
    if not layout.last_pointer.exists():
        return
    if read_to_repair(layout.last_pointer) in (None, read_to_repair(layout.current)):
        layout.last_pointer.unlink()  # it died before CURRENT changed
    else:
        _name_last(layout)


def _write_spare(layout: Layout, pointer: Pointer) -> None:
    """Writes a pointer over the spare, which needs no new block, and forces it to disk."""
    spare = layout.spare_pointer
    if spare.exists() and spare.stat().st_nlink > 1:  # a backup by hard links has it too
        spare.unlink()
    if not spare.exists():
        _make_spare(spare)
    content = f"{pointer.version} {pointer.manifest_sha256}"
    with spare.open("r+") as file:
        file.write(f"{content:<{_SIZE - 1}}\n")
        file.flush()
        os.fsync(file.fileno())


def _restore_spare(layout: Layout) -> None:
    """Makes a spare if there is none, as after the first two publications."""
    if not layout.spare_pointer.exists():
        try:
            _make_spare(layout.spare_pointer)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            # the version is published; the next one needs a block again


def _make_spare(path: Path) -> None:
    with write_atomically(path) as temporary:
        temporary.write_text(" " * (_SIZE - 1) + "\n")
