"""The rising products of one version's training; a table counted in the live log takes their place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from twotower.arrays import Float32
from twotower.artifact.lists import Counted
from twotower.artifact.version import Version
from twotower.errors import InvalidInput
from twotower.trending import MOST, load_rising


class RisingTable(NamedTuple):
    """Rising products, each once, and their figures [3, M]: scores, buyers in the window, buyers expected.

    `counted` is None if nothing could be counted.
    """

    product_ids: Sequence[str]
    figures: Float32
    counted: Counted | None


def read_table(product_ids: Sequence[str], figures: bytes, counted: Counted) -> RisingTable:
    """A table that a caller gives. Raises InvalidInput if the figures do not fit the products."""
    count = len(product_ids)
    if count > MOST:
        raise InvalidInput("rising.product_ids", count, f"products, the limit is {MOST}")
    if len(figures) != 12 * count:
        raise InvalidInput("rising.figures", len(figures), f"bytes are not 3 numbers for each of {count} products")
    table = np.frombuffer(figures, "<f4").reshape(3, count)
    if not np.isfinite(table).all():
        raise InvalidInput("rising.figures", "NaN or infinity", "must be finite numbers")
    if len(set(product_ids)) < count:
        raise InvalidInput("rising.product_ids", count, "products, one of them twice")
    return RisingTable(product_ids, table, counted)


def load_trained(version: Version, rows: Mapping[str, int], ids: NDArray[np.object_]) -> RisingTable:
    """What the training counted, or an empty table. Raises CorruptArtifact if a file does not fit."""
    counted, files = version.manifest.trending, version.layout
    if counted is None:
        return RisingTable([], np.empty((3, 0), np.float32), None)
    version.check(files.trending_rows, files.trending_figures)
    found = load_rising(files, len(rows))
    return RisingTable(ids[found.places].tolist(), np.stack(found[1:]), counted)
