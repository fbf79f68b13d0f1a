"""What is rising: products with more buyers in the last window than their own past lets expect.

A product's figure is the number of buyers who did something with it, each once for a window of time. A shop's total
rises and falls with the day and the season, so a product is expected to keep its share of the total. The score is the
lower bound of a 95 % confidence interval of the rate ratio, shrunk to 1: two clicks are no trend, however quiet the
past was. The interval is that of the logarithm of a rate ratio (Rothman, Greenland and Lash, "Modern Epidemiology").
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from pydantic import ValidationError

from twotower.arrays import Float32, Float64, Int64
from twotower.artifact.layout import VersionLayout
from twotower.artifact.lists import Counted
from twotower.errors import CorruptArtifact

# where the recorder leaves what it has counted in the log, for the gateways
TRENDING_KEY = "twotower:trending:1"
# buyers that a product is given beside its own, both in the window and as expected
SHRINKAGE = 5.0
# products that are kept at most
MOST = 2000
_Z = 1.96


class Rising(NamedTuple):
    """Rising products, the strongest first, arrays [M]: their places in what was counted, scores above 1, buyers in the
    window, and how many were expected.
    """

    places: Int64
    scores: Float32
    buyers: Float32
    expected: Float32


def find_rising(recent: Int64, past: Int64) -> Rising:
    """The rising products of N, from their buyers in the window [N] and in all windows before it [N]; at most `MOST`.

    With r buyers, e expected, s = `SHRINKAGE` and f = total of the window / total of the past:

        ratio = (r + s) / (e + s),  e = f x past
        score = ratio / exp(1.96 x sqrt(1 / (r + s) + f x e / (e + s)^2))

    Without a past nothing rises.
    """
    if not past.sum():
        none = np.empty(0, np.float32)
        return Rising(np.empty(0, np.int64), none, none, none)
    factor = float(recent.sum() / past.sum())
    expected = factor * past.astype(np.float64)
    shown, usual = recent + SHRINKAGE, expected + SHRINKAGE
    error = np.sqrt(1 / shown + factor * expected / usual**2)
    scores: Float64 = shown / usual / np.exp(_Z * error)
    order = np.lexsort((np.arange(len(scores)), -scores))
    places = order[scores[order] > 1][:MOST]
    return Rising(
        places, *(values[places].astype(np.float32) for values in (scores, recent.astype(np.float64), expected))
    )


def load_rising(files: VersionLayout, products: int) -> Rising:
    """Reads what a training counted; the files must be verified. Raises CorruptArtifact if they do not fit."""
    try:
        places, figures = (np.load(path, allow_pickle=False) for path in (files.trending_rows, files.trending_figures))
    except (OSError, ValueError, EOFError) as error:
        raise CorruptArtifact(f"the rising products in {files.root} cannot be read: {error}") from error
    if places.dtype != np.int64 or places.ndim != 1 or (places < 0).any() or (places >= products).any():
        raise CorruptArtifact(f"{files.trending_rows.name} does not hold rows of {products} products")
    if figures.dtype != np.float32 or figures.shape != (3, len(places)) or not np.isfinite(figures).all():
        raise CorruptArtifact(
            f"{files.trending_figures.name} is {figures.dtype} {list(figures.shape)}, wanted finite float32 "
            f"[3, {len(places)}]"
        )
    return Rising(places, *figures)


def save_rising(found: Rising, files: VersionLayout) -> None:
    """Writes both files."""
    np.save(files.trending_rows, found.places.astype(np.int64), allow_pickle=False)
    np.save(files.trending_figures, np.stack([found.scores, found.buyers, found.expected]), allow_pickle=False)


def pack_table(product_ids: Sequence[str], found: Rising, counted: Counted) -> bytes:
    """What the recorder leaves under `TRENDING_KEY`; `product_ids` [M] are those of `found`."""
    figures = [column.tolist() for column in found[1:]]
    return json.dumps({"counted": counted.model_dump(), "ids": list(product_ids), "figures": figures}).encode()


def unpack_table(value: bytes) -> tuple[list[str], Float32, Counted]:
    """The product ids [M], their figures [3, M], and when they were counted. Raises CorruptArtifact."""
    try:
        content = json.loads(value)
        ids, counted = [str(one) for one in content["ids"]], Counted.model_validate(content["counted"])
        figures = np.array(content["figures"], np.float32)
    except (ValueError, KeyError, TypeError, ValidationError) as error:
        raise CorruptArtifact(f"{TRENDING_KEY} in Redis cannot be read: {type(error).__name__}") from None
    if figures.shape != (3, len(ids)) or not np.isfinite(figures).all():
        raise CorruptArtifact(f"{TRENDING_KEY} in Redis holds {list(figures.shape)} figures for {len(ids)} products")
    return ids, figures, counted
