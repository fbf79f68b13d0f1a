"""Says when a file that is followed while the gateway runs has changed."""

from __future__ import annotations

from pathlib import Path


class FileStamp:
    """What identifies the content of a file without reading it; nothing of a file that is not there."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._stamp: tuple[int, ...] = ()

    @property
    def exists(self) -> bool:
        """Whether the file was there at the last look."""
        return bool(self._stamp)

    def look(self) -> bool:
        """Looks at the file. Returns True if it has changed since the last look, come or gone."""
        before = self._stamp
        try:
            found = self._path.stat() if self._path else None
        except OSError:
            found = None
        self._stamp = (found.st_mtime_ns, found.st_size, found.st_ino) if found else ()
        return self._stamp != before
