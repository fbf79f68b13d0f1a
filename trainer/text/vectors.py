"""The vectors of a catalogue's texts, through an exported encoder: computed once for each text, and kept."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.data.catalogue import Products
from trainer.progress import track
from twotower.arrays import Float32
from twotower.artifact.fsync import write_atomically
from twotower.graphs.text_encoder import TextEncoder
from twotower.text.normalise import item_text


def texts_of(products: Products) -> list[str]:
    """The raw text of every item."""
    return [item_text(title, text) for title, text in zip(products.titles, products.descriptions, strict=True)]


def titles_of(products: Products) -> list[str]:
    """What a shopper would type for each item: its title alone, or its text where it has none."""
    return [title or item_text("", text) for title, text in zip(products.titles, products.descriptions, strict=True)]


def encode_cached(
    encoder: TextEncoder, digest: str, texts: Sequence[str], folder: Path, batch_size: int, chunk: int = 8192
) -> tuple[Float32, int]:
    """Vectors [N, E] of raw texts through the exported graph, and how many had to be computed.

    Vectors are kept in `folder` by the hash of encoder and text, so that only new or changed texts are encoded. They
    are in memory once, beside the mapped file, whatever their number.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{digest[:32]}.npy"
    kind = np.dtype([("key", "V16"), ("vector", "<f4", (encoder.spec.dimension,))])
    stored = _stored(path, kind)
    known = {bytes(key): row for row, key in enumerate(stored["key"])}
    keys = [hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=16).digest() for text in texts]
    first: dict[bytes, int] = {}  # the row of the first text of each key
    for row, key in enumerate(keys):
        first.setdefault(key, row)
    fresh = sum(key not in known for key in first)
    if fresh:
        unique = list(first)

        def rows_of(part: Sequence[bytes]) -> NDArray[Any]:
            rows = np.zeros(len(part), kind)
            rows["key"] = np.frombuffer(b"".join(part), "V16")
            old = [place for place, key in enumerate(part) if key in known]
            new = [place for place, key in enumerate(part) if key not in known]
            rows["vector"][old] = stored["vector"][[known[part[place]] for place in old]]
            if new:
                rows["vector"][new] = encoder.encode([texts[first[part[place]]] for place in new], batch_size)
            return rows

        starts = track(range(0, len(unique), chunk), "encoding texts", unit="chunk")
        _store(path, kind, len(unique), (rows_of(unique[start : start + chunk]) for start in starts))
        stored, known = _stored(path, kind), {key: row for row, key in enumerate(unique)}
    vectors = np.empty((len(texts), encoder.spec.dimension), np.float32)
    for start in range(0, len(texts), chunk):
        vectors[start : start + chunk] = stored["vector"][[known[key] for key in keys[start : start + chunk]]]
    return vectors, fresh


def _store(path: Path, kind: np.dtype[Any], count: int, parts: Iterable[NDArray[Any]]) -> None:
    """Writes `count` rows as one .npy file, whole or not at all, a part at a time."""
    header = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": (count,)}
    with write_atomically(path) as temporary, temporary.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for part in parts:
            file.write(part.tobytes())


def _stored(path: Path, kind: np.dtype[Any]) -> NDArray[Any]:
    """The vectors kept so far, mapped; none where there are none, or the file was damaged."""
    with suppress(OSError, ValueError, EOFError):
        found = np.load(path, mmap_mode="r", allow_pickle=False)
        if found.dtype == kind and found.ndim == 1:
            return np.asarray(found)
    return np.empty(0, kind)
