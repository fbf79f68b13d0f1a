"""The inputs of the towers, and their dropout in training."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class History(NamedTuple):
    """Interactions [B, T], oldest first, padded at the end; `items` [B, T, D] are item vectors, `ages` days."""

    items: Tensor
    weights: Tensor
    types: Tensor
    ages: Tensor
    mask: Tensor


class ItemFeatures(NamedTuple):
    """Features of N items: text [N, E], indices of brand, category, product [N], attributes [N, A] (0 = none)."""

    text: Tensor
    brand: Tensor
    category: Tensor
    product: Tensor
    attributes: Tensor


class Sizes(NamedTuple):
    """Sizes of the towers' tables: length of a text vector, and numbers of distinct values."""

    text: int
    brands: int
    categories: int
    products: int
    attributes: int
    event_types: int


def drop_ids(
    features: ItemFeatures, attributes: float, products: float, place: Tensor | None = None, count: int = 0
) -> ItemFeatures:
    """Sets random shares of the brands, categories, attributes and products to unknown, each independently.

    With `place` [N], the items are those places of `count` items, and lose what they would lose among all of them.
    """

    def drop(index: Tensor, share: float) -> Tensor:
        if not share:
            return index
        size = len(index) if place is None else count
        is_kept = torch.rand((size, *index.shape[1:]), device=index.device) >= share
        return index * (is_kept if place is None else is_kept[place])

    return ItemFeatures(
        features.text,
        drop(features.brand, attributes),
        drop(features.category, attributes),
        drop(features.product, products),
        drop(features.attributes, attributes),
    )


def drop_numbers(values: Tensor, share: float) -> Tensor:
    """Dropout (as `torch.nn.functional.dropout`) with `share` rounded to a multiple of 1/256.

    One random byte decides for each number, and one draw gives eight: on a CPU the draws are most of dropout's cost.
    """
    dropped = min(round(share * 256), 255)
    if not dropped:
        return values
    draws = torch.empty(-(-values.numel() // 8), dtype=torch.int64, device=values.device).random_(-(2**63), None)
    kept = draws.view(torch.uint8)[: values.numel()].view(values.shape) >= dropped
    return values * kept.to(values.dtype).mul_(256 / (256 - dropped))


def text_alone(text: Tensor) -> ItemFeatures:
    """Features of items with a text [B, E] and nothing else."""
    unknown = torch.zeros(len(text), dtype=torch.long, device=text.device)
    return ItemFeatures(text, unknown, unknown, unknown, unknown[:, None][:, :0])
