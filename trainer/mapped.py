"""Large tables that lie in a file: memory holds the pages that are in use, and the system may take them back."""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Iterable
from pathlib import Path
from weakref import WeakSet

import numpy as np

from twotower.arrays import Float32

_MAPS: WeakSet[mmap.mmap] = WeakSet()


def mapped_rows(parts: Iterable[Float32], width: int, folder: Path) -> Float32:
    """The rows of all parts [N, width], written one part at a time into a file of `folder` that has no name.

    The file is gone when the last view of the rows is.
    """
    with tempfile.TemporaryFile(dir=folder) as file:
        for part in parts:
            assert part.dtype == np.float32 and part.shape[1] == width
            file.write(part.tobytes())
        size = file.tell()
        if not size:
            return np.empty((0, width), np.float32)
        file.flush()
        mapped = mmap.mmap(file.fileno(), size)
    _MAPS.add(mapped)
    return np.frombuffer(mapped, np.float32).reshape(-1, width)


def drop_pages() -> None:
    """Gives the memory of all tables of `mapped_rows` back, until they are read again.

    The system would do so when memory runs short; what was written to them stays in the file.
    """
    for mapped in list(_MAPS):
        mapped.madvise(mmap.MADV_DONTNEED)
