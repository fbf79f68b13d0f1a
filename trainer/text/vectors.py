"""Vectors of product texts through an exported encoder: each text is encoded once, then read from a cache."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from trainer.cluster.parts import Part
from trainer.data.catalogue import Products
from trainer.mapped import mapped_rows
from trainer.progress import track
from twotower.arrays import Float32
from twotower.artifact.fsync import write_atomically
from twotower.artifact.layout import EncoderLayout
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


# Vectors [n, E] of each list of raw texts, in the order of the lists.
Encode: TypeAlias = Callable[[Sequence[Sequence[str]]], Iterator[Float32]]


class TextWorker:
    """Vectors of the texts of one part, from the exported encoder in the folder `root`."""

    def __init__(self, root: str, threads: int, batch_size: int) -> None:
        self._encoder, self._batch_size = TextEncoder.load(EncoderLayout(Path(root)), threads), batch_size

    def __call__(self, part: Part) -> Part:
        return {"vector": self._encoder.encode(part["text"].tolist(), self._batch_size)}


def encode_cached(
    encode: Encode, dimension: int, digest: str, texts: Sequence[str], folder: Path, chunk: int = _CHUNK
) -> tuple[Float32, int]:
    """Vectors [N, dimension] of raw texts through `encode`, and how many texts had to be encoded.

    `folder` keeps vectors by the hash of text and encoder, whose `digest` is given, so that only new or changed texts
    are encoded. The kept vectors are a mapped file, and so is the result.
    """
    folder.mkdir(parents=True, exist_ok=True)
    cache = _VectorCache(folder / f"{digest[:32]}.npy", dimension)
    keys = [hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=16).digest() for text in texts]
    text_of = dict(zip(reversed(keys), reversed(texts), strict=True))  # the first text of each key
    wanted = list(dict.fromkeys(keys))
    missing = sum(key not in cache.rows for key in wanted)
    if missing:
        cache.replace(wanted, lambda parts: encode([[text_of[key] for key in part] for part in parts]), chunk)
    parts = (cache.vectors(keys[start : start + chunk]) for start in range(0, len(keys), chunk))
    return mapped_rows(parts, dimension, folder.parent), missing


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


# Vectors of each list of keys, in the order of the lists.
_EncodeKeys: TypeAlias = Callable[[Sequence[Sequence[bytes]]], Iterator[Float32]]


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

    def replace(self, keys: Sequence[bytes], encode: _EncodeKeys, chunk: int) -> None:
        """Makes the file hold exactly `keys`; those that it lacks are encoded. `chunk` keys are in memory at a time."""
        chunks = [keys[start : start + chunk] for start in range(0, len(keys), chunk)]
        new = [[key for key in part if key not in self.rows] for part in chunks]
        encoded = encode([part for part in new if part])
        self._write(
            len(keys),
            (
                self._records(part, next(encoded) if lacking else None)
                for part, lacking in zip(track(chunks, "encoding texts", unit="chunk"), new, strict=True)
            ),
        )
        self._stored, self.rows = self._load(), {key: row for row, key in enumerate(keys)}

    def _records(self, keys: Sequence[bytes], encoded: Float32 | None) -> NDArray[Any]:
        """The records of `keys`; `encoded` holds the vectors of those that the file lacks."""
        records = np.zeros(len(keys), self._type)
        records["key"] = np.frombuffer(b"".join(keys), "V16")
        old = [place for place, key in enumerate(keys) if key in self.rows]
        records["vector"][old] = self.vectors([keys[place] for place in old])
        if encoded is not None:
            records["vector"][[place for place, key in enumerate(keys) if key not in self.rows]] = encoded
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
