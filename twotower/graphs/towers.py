"""The exported item tower and buyer tower."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from twotower.arrays import Float32, Int64
from twotower.graphs.graph import VectorGraph
from twotower.history import BuyerInputs

_SHAPES = {"items": 3, "weights": 2, "types": 2, "ages": 2, "mask": 2}


class ItemTower:
    """text [B, E], brand, category, product [B] (0 = unknown) → vectors [B, D], L2-normalised."""

    def __init__(self, path: Path, threads: int) -> None:
        self._graph = VectorGraph(path, {"text": 2, "brand": 1, "category": 1, "product": 1}, "vector", threads)

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


def _inputs(items: Float32, batch: BuyerInputs) -> dict[str, NDArray[Any]]:
    return {
        "items": items,
        "weights": batch.weights,
        "types": batch.types,
        "ages": batch.ages,
        "mask": batch.mask,
    }
