"""The inputs of the towers, and what is dropped from them in training."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class History(NamedTuple):
    """Interactions [B, T], oldest first, padded at the end; `items` are their vectors [B, T, D]."""

    items: Tensor
    weights: Tensor
    types: Tensor
    ages: Tensor
    mask: Tensor


class ItemFeatures(NamedTuple):
    """What the item tower reads of N items: text [N, E], brand, category, product [N], attributes [N, A] (0 = none)."""

    text: Tensor
    brand: Tensor
    category: Tensor
    product: Tensor
    attributes: Tensor


class Sizes(NamedTuple):
    """What the tables of the towers must hold: length of a text vector, and distinct values of each kind."""

    text: int
    brands: int
    categories: int
    products: int
    attributes: int
    event_types: int


def drop_ids(features: ItemFeatures, attributes: float, products: float) -> ItemFeatures:
    """Features with a share of the brands, categories, attributes and products set to unknown, each drawn by itself."""

    def drop(index: Tensor, share: float) -> Tensor:
        return index * (torch.rand(index.shape, device=index.device) >= share) if share else index

    return ItemFeatures(
        features.text,
        drop(features.brand, attributes),
        drop(features.category, attributes),
        drop(features.product, products),
        drop(features.attributes, attributes),
    )


def drop_numbers(values: Tensor, share: float) -> Tensor:
    """Dropout (`torch.nn.functional.dropout`) of the nearest multiple of 1/256 to `share`.

    A byte decides for each number, eight to a draw: on a CPU the draws are most of what dropout costs.
    """
    dropped = min(round(share * 256), 255)
    if not dropped:
        return values
    draws = torch.empty(-(-values.numel() // 8), dtype=torch.int64, device=values.device).random_(-(2**63), None)
    kept = draws.view(torch.uint8)[: values.numel()].view(values.shape) >= dropped
    return values * kept.to(values.dtype).mul_(256 / (256 - dropped))


def text_alone(text: Tensor) -> ItemFeatures:
    """The features of items of which only the text [B, E] is known."""
    unknown = torch.zeros(len(text), dtype=torch.long, device=text.device)
    return ItemFeatures(text, unknown, unknown, unknown, unknown[:, None][:, :0])
