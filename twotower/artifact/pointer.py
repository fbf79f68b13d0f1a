"""CURRENT and PREVIOUS: read without a lock, replaced by rename under one."""

from __future__ import annotations

import fcntl
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from twotower.artifact.fsync import write_atomically
from twotower.artifact.layout import Layout
from twotower.artifact.version import NAME
from twotower.errors import CorruptArtifact


@dataclass(frozen=True)
class Pointer:
    """The content of CURRENT or PREVIOUS: a version's name and the sha256 of its manifest."""

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
    parts = text.split()
    if len(parts) != 2 or not NAME.match(parts[0]) or not re.fullmatch(r"[0-9a-f]{64}", parts[1]):
        raise CorruptArtifact(f"{path} does not hold a version name and a sha256: {text[:100]!r}")
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
    """Keeps others from changing a pointer or removing a version. Held for moments only."""
    with layout.pointers.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def write_pointer(path: Path, pointer: Pointer) -> None:
    """Replaces a pointer; a reader sees the old one or the new one."""
    with write_atomically(path) as temporary:
        temporary.write_text(f"{pointer.version} {pointer.manifest_sha256}\n")
