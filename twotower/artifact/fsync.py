"""Writes that survive a crash: whole or not at all, and forced to disk."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def write_atomically(path: Path) -> Iterator[Path]:
    """Yields a temporary path next to `path`; the file or folder that the block writes there then replaces `path`.

    The content is forced to disk before the rename, and the rename after it. An error inside the block leaves `path`
    as it was. A folder at `path` is removed just before the rename: a crash at that moment leaves none.
    """
    temporary = path.with_name(f".new-{path.name}")  # the same ending, which some writers look at
    _remove(temporary)
    try:
        yield temporary
        if temporary.is_dir():
            sync_folder(temporary)
            _remove(path)
        else:
            sync(temporary)
        temporary.replace(path)
        sync(path.parent)
    except BaseException:
        _remove(temporary)
        raise


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes readable JSON atomically."""
    with write_atomically(path) as temporary:
        temporary.write_text(json.dumps(content, ensure_ascii=False, indent=1), encoding="utf-8")


def sync_folder(folder: Path) -> None:
    """Forces a folder with everything in it to disk, so that a rename after it publishes whole files."""
    for path in folder.rglob("*"):
        sync(path)
    sync(folder)


def sync(path: Path) -> None:
    """Forces a file's content, or a folder's list of names, to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
