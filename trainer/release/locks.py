"""One trainer at a time in a work folder and in a shared cache."""

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
    """Where text vectors and checkpoints are kept."""
    return Path(config.paths.cache) if config.paths.cache else layout.work


def check_writable(layout: Layout) -> None:
    """Makes the artifact folder and proves that it can be written; OSError names it otherwise."""
    layout.work.mkdir(parents=True, exist_ok=True)
    probe = layout.work / f".probe-{os.getpid()}"
    try:
        probe.write_bytes(b"x" * 4096)
    finally:
        probe.unlink(missing_ok=True)


@contextmanager
def working_alone(layout: Layout) -> Iterator[None]:
    """Holds the artifact folder's lock, and removes what a trainer that was killed has left half done.

    DataError where another trainer works in it.
    """
    check_writable(layout)
    with _locked(layout.work, str(layout.root)):
        remove_leftovers(layout)
        yield


@contextmanager
def alone_in_cache(config: Config, layout: Layout) -> Iterator[None]:
    """Holds the lock of the work folder too where it is another one, which other artifact folders may share.

    DataError where another trainer works in it.
    """
    work = work_folder(config, layout)
    if work.resolve() == layout.work.resolve():
        yield
        return
    work.mkdir(parents=True, exist_ok=True)
    with _locked(work, f"{work} (paths.cache)"):
        yield


@contextmanager
def _locked(folder: Path, told: str) -> Iterator[None]:
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataError(f"another trainer is working in {told}; wait for it, or name another folder") from None
        yield
