"""Unpacks .zst files; a file whose end is missing raises EOFError, as Python's own archives do."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

import zstandard

# of the packed file: a block of it may unpack to a thousand times as much
_PACKED_BYTES = 1 << 16


class ZstdFile:
    """A .zst file of one or several frames, open for reading."""

    def __init__(self, path: Path, _mode: str = "rb") -> None:
        self._file = path.open("rb")
        self._frame: Any = None
        self._rest = b""

    def read(self, _size: int) -> bytes:
        """Some of the unpacked bytes, b"" at the end. Raises zstandard.ZstdError for what is no archive."""
        while True:
            packed = self._rest or self._file.read(_PACKED_BYTES)
            if not packed:
                if self._frame is not None:
                    raise EOFError
                return b""
            self._frame = self._frame or zstandard.ZstdDecompressor().decompressobj()
            unpacked: bytes = self._frame.decompress(packed)
            self._rest = b""
            if self._frame.eof:
                self._rest, self._frame = self._frame.unused_data, None
            if unpacked:
                return unpacked

    def __enter__(self) -> ZstdFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()
