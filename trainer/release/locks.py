"""Locks: one trainer at a time in an artifact folder and in a shared cache."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trainer.config.schema import Config
from trainer.errors import DataError
from twotower.artifact.layout import Layout
from twotower.artifact.retention import remove_leftovers


def work_folder(config: Config, layout: Layout) -> Path:
    """The folder of text vectors, encoders and workspaces: `paths.cache`, or `work` in the artifact folder."""
    return Path(config.paths.cache) if config.paths.cache else layout.work


def check_writable(layout: Layout) -> None:
    """Creates the artifact folder and writes a file to it; raises OSError with its path if that fails."""
    layout.work.mkdir(parents=True, exist_ok=True)
    probe = layout.work / f".probe-{os.getpid()}"
    try:
        probe.write_bytes(b"x" * 4096)
    finally:
        probe.unlink(missing_ok=True)


@contextmanager
def working_alone(layout: Layout) -> Iterator[None]:
    """Holds the artifact folder's lock and removes what a killed trainer has left.

    Raises DataError if another trainer holds the lock.
    """
    check_writable(layout)
    with _locked(layout.work, str(layout.root)):
        remove_leftovers(layout)
        yield


@contextmanager
def alone_in_cache(config: Config, layout: Layout) -> Iterator[None]:
    """Holds the lock of `paths.cache`, which several artifact folders may share.

    Raises DataError if another trainer holds the lock.
    """
    work = work_folder(config, layout)
    if work.resolve() == layout.work.resolve():
        yield
        return
    work.mkdir(parents=True, exist_ok=True)
    with _locked(work, f"{work} (paths.cache)"):
        yield


@contextmanager
def _locked(folder: Path, shown: str) -> Iterator[None]:
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataError(f"another trainer is working in {shown}; wait for it, or name another folder") from None
        yield
