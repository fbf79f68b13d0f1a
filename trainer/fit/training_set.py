"""The events that a training may see."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trainer.data.events import Events
from trainer.data.split import trained_products
from twotower.arrays import Int64, Mask


@dataclass(frozen=True)
class TrainingSet:
    """A training sees each buyer's events before `stop` [buyers], an index into `events` [M].

    `events` also holds the later ones: validation asks for them.
    """

    events: Events
    stop: Int64

    @property
    def is_training(self) -> Mask:
        """True [M] for the events that the training sees."""
        mask: Mask = np.arange(len(self.events.buyer)) < self.stop[self.events.buyer]
        return mask

    def trained_products(self, products: int) -> Mask:
        """True [N] for products that occur in a (history, next product) pair: a training places no others."""
        return trained_products(self.events, self.stop, products, 2)
