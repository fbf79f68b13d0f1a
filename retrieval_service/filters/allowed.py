"""The products that a filter allows."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from retrieval_service.live.view import LiveView
from twotower.arrays import Mask

_NO_SLOTS = np.empty(0, np.bool_)


@dataclasses.dataclass
class Allowed:
    """Rows of the version and slots of live products, and the values of the filter that none of them has."""

    mask: Mask | None  # [N]; None: every product
    unknown: list[str]
    view: LiveView | None = None  # None: no product is live
    slots: Mask = dataclasses.field(default_factory=lambda: _NO_SLOTS)  # [M]
    # the text of a query's `also`, and those of its products that are allowed
    also: dict[str, Sequence[str]] = dataclasses.field(default_factory=dict)
