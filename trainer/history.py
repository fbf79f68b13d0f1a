"""A batch of histories as the buyer tower of torch takes it."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class History(NamedTuple):
    """Interactions [B, T], oldest first, padded at the end; `items` are their vectors [B, T, D]."""

    items: Tensor
    weights: Tensor
    types: Tensor
    ages: Tensor
    mask: Tensor
