"""Recent popularity as one more number of each vector."""

from __future__ import annotations

import numpy as np

from trainer.data.events import Events
from twotower.arrays import Float32, Int64
from twotower.events import DAY_MS

# numbers of a vector that are the product's own, whoever asks: what content does not tell of a new one, and the trend
BIASES = 2


# how far a product's popularity may tilt its vector, as a cosine
_STEEPEST = 0.35


# what a unit of log popularity weighs beside a cosine at trend 1: about a softmax's temperature
_TREND = 0.05


def trends(events: Events, train_stop: Int64, products: int, half_life_days: float) -> Float32:
    """How popular each product [N] was lately: log of its decayed events, less its mean over products that have any."""
    chosen = np.arange(len(events.buyer)) < train_stop[events.buyer]
    times = events.time[chosen]
    ages = (times.max() - times) / DAY_MS if len(times) else times.astype(np.float64)
    recent = np.bincount(events.product[chosen], 0.5 ** (ages / half_life_days), minlength=products)
    logs = np.log(recent + 0.5)
    known = np.bincount(events.product[chosen], minlength=products) > 0
    found: Float32 = (logs - (logs[known].mean() if known.any() else 0.0)).astype(np.float32)
    return found


def tilts(trend: Float32, strength: float) -> Float32:
    """What the last number of each product's vector [N] is, growing with its trend: a buyer vector with a 1 there adds
    it to the cosines."""
    found: Float32 = np.clip(_TREND * strength * trend, -_STEEPEST, _STEEPEST).astype(np.float32)
    return found


def trends_of(tilt: Float32, strength: float) -> Float32:
    """The trends [N] of which `tilts` made these, as far as they can be told: tilts end at the steepest."""
    return tilt / np.float32(_TREND * strength) if strength else np.zeros_like(tilt)
