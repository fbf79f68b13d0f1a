"""The exported item tower and buyer tower."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twotower.arrays import Float32, Int64
from twotower.artifact.layout import VersionLayout
from twotower.errors import CorruptArtifact
from twotower.graphs.graph import VectorGraph
from twotower.history import BuyerInputs

_SHAPES = {"items": 3, "weights": 2, "types": 2, "ages": 2, "mask": 2}


class ItemTower:
    """text [B, E], brand, category, product [B] (0 = unknown) → vectors [B, D], L2-normalised.

    The graph reads the products' rows from a file beside it, which is mapped. Raises CorruptArtifact if a file cannot
    be read, or if they do not fit each other.
    """

    def __init__(self, files: VersionLayout, threads: int) -> None:
        rows, inputs = _shape(files.item_tower_rows), {"text": 2, "brand": 1, "category": 1, "product": 1}
        try:
            self._graph = VectorGraph(files.item_tower, inputs, "vector", threads)
        except CorruptArtifact as error:
            # ONNX Runtime does not name a file that is too short
            raise CorruptArtifact(f"{error}; it reads {files.item_tower_rows}, which holds {rows}") from error
        # ONNX Runtime accepts a file that is too long
        wanted = self._graph.properties().get("rows")
        if rows != wanted:
            raise CorruptArtifact(f"{files.item_tower_rows} holds {rows}, {files.item_tower.name} wants {wanted}")

    def encode(self, text: Float32, brand: Int64, category: Int64, product: Int64) -> Float32:
        return self._graph.vectors({"text": text, "brand": brand, "category": category, "product": product})


class BuyerTower:
    """item vectors [B, T, D], weights, event types, ages, mask [B, T] → vectors [B, D], L2-normalised."""

    def __init__(self, path: Path, threads: int) -> None:
        self._graph = VectorGraph(path, _SHAPES, "vector", threads)

    def encode(self, items: Float32, batch: BuyerInputs) -> Float32:
        """Vectors [B, D] of a batch of histories; `items` holds their item vectors."""
        return self._graph.vectors(_inputs(items, batch))


class BuyerPartsGraph:
    """The same inputs → the vectors as sums [B, T + 1, D]: a row for each interaction, then one for the rest."""

    def __init__(self, path: Path, threads: int) -> None:
        self._graph = VectorGraph(path, _SHAPES, "parts", threads)

    def encode(self, items: Float32, batch: BuyerInputs) -> Float32:
        """Parts [B, T + 1, D] of a batch of histories; rows of padding are zero."""
        return self._graph.vectors(_inputs(items, batch))


def _shape(path: Path) -> str:
    """What a .npy file holds, as the graph's properties say it: "float32 [5, 8]"."""
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise CorruptArtifact(f"{path} cannot be read: {error}") from error
    return f"{values.dtype} {list(values.shape)}"


def _inputs(items: Float32, batch: BuyerInputs) -> dict[str, NDArray[Any]]:
    return {
        "items": items,
        "weights": batch.weights,
        "types": batch.types,
        "ages": batch.ages,
        "mask": batch.mask,
    }
