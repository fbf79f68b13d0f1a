"""Small shops of baskets and sessions."""

from __future__ import annotations

from typing import Any

import numpy as np

from trainer.config.loading import load_config
from trainer.config.schema import Together
from trainer.data.events import Events
from trainer.fit.together.groups import Shopping, read_shopping

VIEW, PURCHASE = 1, 3
MINUTE = 60_000


def settings(**changed: Any) -> Together:
    plain = {"size_power": 0.0, "session_weight": 0.5, "min_groups": 1, "min_ratio": 0.0, "shrinkages": [1.0]}
    return load_config([], []).together.model_copy(update=plain | changed)


def events(*rows: tuple[int, int, int, float]) -> Events:
    """Rows of buyer, product, kind and minute."""
    ordered = sorted(rows, key=lambda row: (row[0], row[3]))
    buyer, product, kind, minute = (np.array(column) for column in zip(*ordered, strict=True))
    start = np.searchsorted(buyer, np.arange(buyer.max() + 2)).astype(np.int64)
    time = (minute * MINUTE).astype(np.int64)
    return Events(buyer.astype(np.int32), product.astype(np.int32), kind.astype(np.int8), time, start)


def baskets(*contents: list[int], products: int = 4, wanted: Together) -> Shopping:
    """One basket a buyer."""
    rows = [(buyer, product, PURCHASE, 0.0) for buyer, content in enumerate(contents) for product in content]
    return read_shopping(events(*rows), products, PURCHASE, wanted)
