"""Forces files and folders to disk."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path


def sync_folder(folder: Path) -> None:
    """Fsyncs every file of a folder and the folder itself, so that a rename after it publishes whole files."""
    for path in _files(folder):
        sync(path)
    sync(folder)


def _files(folder: Path) -> Iterable[Path]:
    return (path for path in folder.iterdir() if path.is_file())


def sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
