"""The list of forgotten buyers: a file of hashes, one a line, which the gateway extends and training and `warm` read.

A file and not Redis: it outlives a Redis that comes back empty, and the trainer reaches no Redis. Hashes hide ids only
from a reader who does not know them: whoever knows an id can look whether it is on the list.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
from pathlib import Path

from twotower.errors import CorruptArtifact

_PREFIX = b"twotower forgotten buyer\0"
_HASH = re.compile("[0-9a-f]{64}")


def buyer_hash(buyer_id: str) -> str:
    """What the list, the figures of a version and the log have in place of a buyer's id."""
    return hashlib.sha256(_PREFIX + buyer_id.encode()).hexdigest()


def forget_buyer(path: Path, buyer_id: str) -> None:
    """Adds a buyer to the list, forced to disk. Several processes may do so at once. Raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        content = file.read()
        # a writer that was killed may have left a part of a line
        file.seek(content.rfind(b"\n") + 1)
        file.truncate()
        file.write(buyer_hash(buyer_id).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


class ForgottenBuyers:
    """The buyers on the list, as `read` or the last `refresh` found them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._hashes: frozenset[str] = frozenset()
        self._seen: tuple[int, int] | None = None

    @classmethod
    def read(cls, path: Path) -> ForgottenBuyers:
        """The list in a file; empty if there is no file. Raises CorruptArtifact if it cannot be read."""
        found = cls(path)
        found.refresh()
        return found

    def __len__(self) -> int:
        return len(self._hashes)

    def __contains__(self, buyer_id: str) -> bool:
        return bool(self._hashes) and buyer_hash(buyer_id) in self._hashes

    def has_hash(self, hashed: str) -> bool:
        """Whether the list has this `buyer_hash`."""
        return hashed in self._hashes

    def refresh(self) -> None:
        """Reads the file again if it has changed. A last line without its end counts for nothing: it is being written.

        Raises CorruptArtifact, with the number of the line, if the file cannot be read.
        """
        try:
            facts = self._path.stat()
            if (facts.st_ino, facts.st_size) == self._seen:
                return
            content = self._path.read_bytes()
        except FileNotFoundError:
            self._hashes, self._seen = frozenset(), None
            return
        except OSError as error:
            raise CorruptArtifact(f"{self._path} cannot be read: {error.strerror}") from None
        lines = content[: content.rfind(b"\n") + 1].decode("ascii", "replace").splitlines()
        for number, line in enumerate(lines, start=1):
            if not _HASH.fullmatch(line):
                raise CorruptArtifact(f"{self._path}, line {number}: {line[:80]!r} is not the hash of a buyer")
        self._hashes, self._seen = frozenset(lines), (facts.st_ino, facts.st_size)
