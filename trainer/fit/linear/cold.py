"""Vectors of cold products in the linear model: no training event places them, only content and text neighbours do."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from twotower.arrays import Float32


class ColdStart(NamedTuple):
    """How cold products are predicted, tuned on held-out products.

    `ridge` regularises the regression on the text and `neighbour_ridge` that on the text neighbours. `slope` corrects
    trends that the prediction makes too small; `variance` is that of the true trends about the corrected ones.
    """

    ridge: float
    neighbour_ridge: float
    slope: float
    variance: float

    def correct_trend(self, predicted: Float32) -> Float32:
        """The expected trends [C] for the predicted ones.

        A trend is a log popularity. The mean popularity for an uncertain log exceeds the exponential of the log's mean
        by half its variance, as for a lognormal variable.
        """
        corrected: Float32 = (self.slope * predicted + self.variance / 2).astype(np.float32)
        return corrected


def cold_rows(content: Float32, vectors: Float32, tilt: Float32, trust: float) -> Float32:
    """Product rows [C, D + 2] of cold products, which the item tower adds to their `content` [C, D + 2].

    The sum has length 1: the predicted direction `vectors` [C, D] at length `trust`, the predicted `tilt` [C] as its
    last number, and the rest in the last number but one, which no buyer vector has. Without that rest, cold products
    that happen to be near a buyer would crowd out what sells. The row is zero if the predicted vector is zero.
    """
    across = np.sqrt(1 - tilt**2)
    whole = np.column_stack((vectors * (trust * across)[:, None], across * np.sqrt(1 - trust**2), tilt))
    rows: Float32 = ((whole - content) * vectors.any(axis=1, keepdims=True)).astype(np.float32)
    return rows
