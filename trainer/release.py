"""What every way to a new version has in common: the locks of its folders, a free name, and the check by loading."""

from __future__ import annotations

import fcntl
import itertools
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from trainer.config import Config
from trainer.errors import DataError
from twotower.arrays import Float64
from twotower.artifact.layout import Layout
from twotower.artifact.pointer import read_pointer
from twotower.artifact.retention import remove_leftovers
from twotower.artifact.version import Version
from twotower.errors import CorruptArtifact
from twotower.graphs.text_encoder import TextEncoder
from twotower.graphs.towers import BuyerTower, ItemTower
from twotower.search.vector_index import VectorIndex

# products that the index must find by their own vectors before a version is published
_FOUND_AGAIN = 50
_NONE = np.empty(0, np.int64)


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


def current_name(layout: Layout) -> str:
    """What CURRENT names; empty where it names nothing, or is damaged and so about to be repaired by publishing."""
    try:
        pointer = read_pointer(layout.current)
    except CorruptArtifact:
        return ""
    return pointer.version if pointer else ""


def free_name(layout: Layout, wanted: str) -> str:
    """`wanted`, or with a number behind it where a version was made in the same second."""
    names = (wanted if number == 1 else f"{wanted}-{number}" for number in itertools.count(1))
    return next(name for name in names if not layout.version(name).root.exists())


def keep_newest(folder: Path, keep: int) -> None:
    """Removes all but the `keep` entries of one of the trainer's own folders that were used last."""
    if folder.is_dir():
        for old in sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime)[:-keep]:
            shutil.rmtree(old) if old.is_dir() else old.unlink()


def load_as_services_do(version: Version, threads: int) -> None:
    """Checks a version as one that is about to be published: every file, opened as its service opens it.

    CorruptArtifact, or DataError where the index misses products.
    """
    version.check(*(version.layout.root / name for name in version.manifest.files))
    version.check(*(version.encoder.root / name for name in version.manifest.encoder_files))
    files = version.layout
    opened = VectorIndex.load(files.index, files.embeddings, version.manifest.index, nearest=version.nearest)
    ItemTower(files.item_tower, threads)
    BuyerTower(files.buyer_tower, threads)
    TextEncoder.load(version.encoder, threads).encode(["خاتم ذهب"])
    squares = _squares(opened, files.embeddings.name)
    texts = VectorIndex.load(files.text_index, files.text_embeddings, version.manifest.text_search.index)
    _squares(texts, files.text_embeddings.name)
    # a product of which nothing is known has a vector of zeros, and nothing finds it by that
    some = np.array(opened.vectors[np.flatnonzero(squares)[:_FOUND_AGAIN]])
    best = [hits.scores[0] for hits in opened.search(some, [1] * len(some), [_NONE] * len(some))]
    found = int((np.abs(np.array(best) - 1) <= 1e-3).sum())
    # an approximate index may miss one
    if found < (1.0 if opened.is_exact else 0.9) * len(some):
        raise DataError(f"of the first {len(some)} products the index finds only {found} by their own vectors")


def _squares(opened: VectorIndex, name: str) -> Float64:
    """The squared lengths [N] of an index's vectors. CorruptArtifact where one holds a number that is not finite."""
    squares: Float64 = np.einsum("nd,nd->n", opened.vectors, opened.vectors, dtype=np.float64)
    wrong = np.flatnonzero(~np.isfinite(squares))
    if len(wrong):
        raise CorruptArtifact(f"{name} holds numbers that are not finite in {len(wrong):,} rows, first in {wrong[0]}")
    return squares
