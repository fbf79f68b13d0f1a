"""Recent popularity as one more number of each item vector."""

from __future__ import annotations

import numpy as np

from trainer.data.popularity import recent_counts
from trainer.fit.training_set import TrainingSet
from twotower.arrays import Float32

# numbers of an item vector that do not depend on the buyer: the uncertain part of a cold product, and the tilt
BIASES = 2
# the largest cosine that a trend may add
_MAX_TILT = 0.35
# cosine per unit of log popularity at trend weight 1: about a softmax's temperature
_TILT_PER_TREND = 0.05


def trends(data: TrainingSet, products: int, half_life_days: float) -> Float32:
    """Recent popularity of each product [N]: log of its decayed buyers, minus the mean log of products with events.

    A buyer counts once for a product, by the newest event: no robot makes a trend.
    """
    logs = np.log(recent_counts(data.events, data.stop, products, half_life_days).astype(np.float64) + 0.5)
    has_events = np.bincount(data.events.product[data.is_training], minlength=products) > 0
    centred: Float32 = (logs - (logs[has_events].mean() if has_events.any() else 0.0)).astype(np.float32)
    return centred


def tilts(trend: Float32, weight: float) -> Float32:
    """The last number of each item vector [N] for its trend: a buyer vector with a 1 there adds it to the cosines."""
    tilt: Float32 = np.clip(_TILT_PER_TREND * weight * trend, -_MAX_TILT, _MAX_TILT).astype(np.float32)
    return tilt


def trends_from_tilts(tilt: Float32, weight: float) -> Float32:
    """Inverts `tilts`; clipped tilts give the trend at the limit."""
    return tilt / np.float32(_TILT_PER_TREND * weight) if weight else np.zeros_like(tilt)
