"""Vectors of product texts through an exported encoder: each text is encoded once, then read from a cache."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.data.catalogue import Products
from trainer.progress import track
from twotower.arrays import Float32
from twotower.artifact.fsync import write_atomically
from twotower.graphs.text_encoder import TextEncoder
from twotower.text.normalise import item_text, title_text

# A part of the texts that is encoded, written or copied at a time.
_CHUNK = 8192


def texts_of(products: Products) -> list[str]:
    """The raw text of every product."""
    return [item_text(title, text) for title, text in zip(products.titles, products.descriptions, strict=True)]


def titles_of(products: Products) -> list[str]:
    """The title of every product, or its description if it has none: what a shopper would search for."""
    return [title_text(title, text) for title, text in zip(products.titles, products.descriptions, strict=True)]


def encode_cached(
    encoder: TextEncoder, digest: str, texts: Sequence[str], folder: Path, batch_size: int, chunk: int = _CHUNK
) -> tuple[Float32, int]:
    """Vectors [N, E] of raw texts through the exported graph, and how many texts had to be encoded.

    `folder` keeps vectors by the hash of encoder and text, so that only new or changed texts are encoded. The kept
    vectors are a mapped file; memory holds the result once.
    """
    folder.mkdir(parents=True, exist_ok=True)
    cache = _VectorCache(folder / f"{digest[:32]}.npy", encoder.spec.dimension)
    keys = [hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=16).digest() for text in texts]
    text_of = dict(zip(reversed(keys), reversed(texts), strict=True))  # the first text of each key
    wanted = list(dict.fromkeys(keys))
    missing = sum(key not in cache.rows for key in wanted)
    if missing:

        def encode(part: Sequence[bytes]) -> Float32:
            return encoder.encode([text_of[key] for key in part], batch_size)

        cache.replace(wanted, encode, chunk)
    vectors = np.empty((len(texts), encoder.spec.dimension), np.float32)
    for start in range(0, len(texts), chunk):
        vectors[start : start + chunk] = cache.vectors(keys[start : start + chunk])
    return vectors, missing


@contextmanager
def restored_on_failure(folder: Path) -> Iterator[None]:
    """If the block fails, `folder` holds the vectors that it held before, and the disk has its space back.

    The old files wait under another name, not as copies: each block of the disk is used once.
    """
    before = folder.with_name(f".before-{folder.name}")
    shutil.rmtree(before, ignore_errors=True)  # what a killed process has left
    before.mkdir(parents=True)
    try:
        for path in folder.glob("*.npy"):
            os.link(path, before / path.name)
        yield
    except BaseException:
        for path in folder.glob("*"):
            path.unlink()
        for path in before.iterdir():
            path.replace(folder / path.name)
        raise
    finally:
        shutil.rmtree(before)


class _VectorCache:
    """A .npy file of keys and vectors; `rows` maps each key to its row."""

    def __init__(self, path: Path, dimension: int) -> None:
        self._path = path
        self._type = np.dtype([("key", "V16"), ("vector", "<f4", (dimension,))])
        self._stored = self._load()
        self.rows = {bytes(key): row for row, key in enumerate(self._stored["key"])}

    def vectors(self, keys: Sequence[bytes]) -> Float32:
        found: Float32 = self._stored["vector"][[self.rows[key] for key in keys]]
        return found

    def replace(self, keys: Sequence[bytes], encode: Callable[[Sequence[bytes]], Float32], chunk: int) -> None:
        """Makes the file hold exactly `keys`; those that it lacks are encoded. `chunk` keys are in memory at a time."""
        starts = track(range(0, len(keys), chunk), "encoding texts", unit="chunk")
        self._write(len(keys), (self._records(keys[start : start + chunk], encode) for start in starts))
        self._stored, self.rows = self._load(), {key: row for row, key in enumerate(keys)}

    def _records(self, keys: Sequence[bytes], encode: Callable[[Sequence[bytes]], Float32]) -> NDArray[Any]:
        records = np.zeros(len(keys), self._type)
        records["key"] = np.frombuffer(b"".join(keys), "V16")
        old = [place for place, key in enumerate(keys) if key in self.rows]
        new = [place for place, key in enumerate(keys) if key not in self.rows]
        records["vector"][old] = self.vectors([keys[place] for place in old])
        if new:
            records["vector"][new] = encode([keys[place] for place in new])
        return records

    def _write(self, count: int, parts: Iterable[NDArray[Any]]) -> None:
        """Writes `count` records part by part; an interrupted write leaves the old file."""
        header = {"descr": np.lib.format.dtype_to_descr(self._type), "fortran_order": False, "shape": (count,)}
        with write_atomically(self._path) as temporary, temporary.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            for part in parts:
                file.write(part.tobytes())

    def _load(self) -> NDArray[Any]:
        """The mapped records; none if there is no file or it is damaged."""
        with suppress(OSError, ValueError, EOFError):
            stored = np.load(self._path, mmap_mode="r", allow_pickle=False)
            if stored.dtype == self._type and stored.ndim == 1:
                return np.asarray(stored)
        return np.empty(0, self._type)
