"""Recent popularity as one more number of each item vector."""

from __future__ import annotations

import numpy as np

from trainer.fit.training_set import TrainingSet
from twotower.arrays import Float32
from twotower.events import DAY_MS

# numbers of an item vector that do not depend on the buyer: the uncertain part of a cold product, and the tilt
BIASES = 2
# the largest cosine that a trend may add
_MAX_TILT = 0.35
# cosine per unit of log popularity at trend weight 1: about a softmax's temperature
_TILT_PER_TREND = 0.05


def trends(data: TrainingSet, products: int, half_life_days: float) -> Float32:
    """Recent popularity of each product [N]: log of its decayed events, minus the mean log of products with events."""
    events, chosen = data.events, data.is_training
    times = events.time[chosen]
    ages = (times.max() - times) / DAY_MS if len(times) else times.astype(np.float64)
    recent = np.bincount(events.product[chosen], 0.5 ** (ages / half_life_days), minlength=products)
    logs = np.log(recent + 0.5)
    has_events = np.bincount(events.product[chosen], minlength=products) > 0
    centred: Float32 = (logs - (logs[has_events].mean() if has_events.any() else 0.0)).astype(np.float32)
    return centred


def tilts(trend: Float32, weight: float) -> Float32:
    """The last number of each item vector [N] for its trend: a buyer vector with a 1 there adds it to the cosines."""
    tilt: Float32 = np.clip(_TILT_PER_TREND * weight * trend, -_MAX_TILT, _MAX_TILT).astype(np.float32)
    return tilt


def trends_from_tilts(tilt: Float32, weight: float) -> Float32:
    """Inverts `tilts`; clipped tilts give the trend at the limit."""
    return tilt / np.float32(_TILT_PER_TREND * weight) if weight else np.zeros_like(tilt)
