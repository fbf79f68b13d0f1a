"""The two towers in torch. The graphs that services run are exported from these very modules."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainer.config import Model


class ItemFeatures(NamedTuple):
    """What the item tower reads of N items: text [N, E], and brand, category, product [N] (0 = unknown)."""

    text: Tensor
    brand: Tensor
    category: Tensor
    product: Tensor


class ItemTower(nn.Module):
    """text [B, E], brand, category, product [B] → L2-normalised vectors [B, D].

    The projected text plus the vectors of brand, category and product, each left out where it is unknown (index 0).
    """

    def __init__(self, text: int, brands: int, categories: int, products: int, config: Model) -> None:
        super().__init__()
        dimension = config.dimension
        self.projection = nn.Linear(text, dimension, bias=False)
        # starts as near to the text's own geometry as the sizes allow: an untrained tower already ranks by content
        nn.init.eye_(self.projection.weight) if text == dimension else nn.init.orthogonal_(self.projection.weight)
        self.brand = _table(brands if config.brand_embedding else 0, dimension)
        self.category = _table(categories if config.category_embedding else 0, dimension)
        self.product = _table(products if config.product_embedding else 0, dimension)

    def forward(self, text: Tensor, brand: Tensor, category: Tensor, product: Tensor) -> Tensor:
        vector = self.projection(functional.normalize(text, dim=-1))  # [B, D]
        for table, index in ((self.brand, brand), (self.category, category), (self.product, product)):
            # a table without rows (an embedding that is switched off) has row 0 alone; the input stays in the graph
            vector = vector + table(index.clamp(max=table.num_embeddings - 1))
        return functional.normalize(vector, dim=-1)


def _table(rows: int, dimension: int) -> nn.Embedding:
    table = nn.Embedding(rows + 1, dimension, padding_idx=0)
    nn.init.normal_(table.weight, std=0.1 / dimension**0.5)
    with torch.no_grad():
        table.weight[0] = 0
    return table


class History(NamedTuple):
    """Interactions [B, T], oldest first, padded at the end; `items` are their vectors [B, T, D]."""

    items: Tensor
    weights: Tensor
    types: Tensor
    ages: Tensor
    mask: Tensor


class BuyerTower(nn.Module):
    """A history → one L2-normalised vector [B, D]: a softmax over the interactions pools their item vectors.

    `weighted_average`: the share of an interaction is its event weight, halved every `half_life_days`. `attention`
    multiplies that by exp(learned query · item + learned terms for event type and for the place counted from the
    newest), and adds a learned linear map of the pooled vector, zero at first: what is bought next is not what was.
    """

    def __init__(self, event_types: int, config: Model) -> None:
        super().__init__()
        self.attention = config.buyer_tower == "attention"
        self.decay = 0.6931471805599453 / config.half_life_days if config.half_life_days else 0.0
        self.longest = config.max_history
        if self.attention:
            self.query = nn.Parameter(torch.zeros(config.dimension))
            self.type_bias = nn.Parameter(torch.zeros(event_types + 1))
            self.place_bias = nn.Parameter(torch.zeros(config.max_history))
            self.next = nn.Parameter(torch.zeros(config.dimension, config.dimension))

    def forward(self, items: Tensor, weights: Tensor, types: Tensor, ages: Tensor, mask: Tensor) -> Tensor:
        place = mask.sum(dim=1, keepdim=True) - mask.long().cumsum(dim=1)  # [B, T], 0 = newest
        logits = self._logits(items, weights, types) - self.decay * ages + self._place(place)
        shares = torch.softmax(logits.masked_fill(~mask, -1e9), dim=1) * mask  # [B, T]
        return self._finish((shares.unsqueeze(1) @ items).squeeze(1))

    def prefixes(self, history: History, keep: Tensor | None = None) -> Tensor:
        """Vectors [B, T, D] of every prefix: row t is what `forward` gives for interactions 0..t.

        `keep` [B, T]: interactions that training leaves out are False; the newest of a prefix always stays.
        """
        length = history.mask.shape[1]
        steps = torch.arange(length, device=history.mask.device)
        place = (steps[:, None] - steps[None, :]).clamp(min=0)  # [T, T]
        seen = steps[:, None] >= steps[None, :]
        if keep is not None:
            seen = seen & (keep[:, None, :] | (steps[:, None] == steps[None, :]))
        # ages count from each prefix's own newest event
        age = (history.ages[:, None, :] - history.ages[:, :, None]).clamp(min=0)  # [B, T, T]
        own = self._logits(history.items, history.weights, history.types)[:, None, :]
        logits = own - self.decay * age + self._place(place)
        logits = logits.masked_fill(~(seen & history.mask[:, None, :]), -1e9)
        return self._finish(torch.softmax(logits, dim=2) @ history.items)

    def _logits(self, items: Tensor, weights: Tensor, types: Tensor) -> Tensor:
        logits = weights.clamp(min=1e-9).log()
        if self.attention:
            # a matrix of one column: ONNX Runtime takes eight times as long for a product with a plain vector
            match = functional.linear(items, self.query[None]).squeeze(-1)  # [B, T]
            logits = logits + match + self.type_bias[types]
        return logits

    def _place(self, place: Tensor) -> Tensor:
        if not self.attention:
            return torch.zeros((), device=place.device)
        return self.place_bias[place.clamp(0, self.longest - 1)]

    def _finish(self, pooled: Tensor) -> Tensor:
        if self.attention:
            pooled = pooled + pooled @ self.next
        return functional.normalize(pooled, dim=-1)


class TwoTower(nn.Module):
    """Both towers and the temperature of their softmax."""

    def __init__(
        self,
        text: int,
        brands: int,
        categories: int,
        products: int,
        event_types: int,
        config: Model,
        temperature: float,
    ) -> None:
        super().__init__()
        self.item = ItemTower(text, brands, categories, products, config)
        self.buyer = BuyerTower(event_types, config)
        self.log_temperature = nn.Parameter(torch.tensor(temperature).log())

    def items(self, features: ItemFeatures) -> Tensor:
        vectors: Tensor = self.item(*features)
        return vectors


def drop_ids(features: ItemFeatures, attributes: float, products: float) -> ItemFeatures:
    """Features with a share of the brands, categories and products set to unknown, each drawn by itself."""

    def drop(index: Tensor, share: float) -> Tensor:
        return index * (torch.rand(index.shape, device=index.device) >= share) if share else index

    return ItemFeatures(
        features.text,
        drop(features.brand, attributes),
        drop(features.category, attributes),
        drop(features.product, products),
    )


def text_alone(text: Tensor) -> ItemFeatures:
    """The features of items of which only the text [B, E] is known."""
    unknown = torch.zeros(len(text), dtype=torch.long, device=text.device)
    return ItemFeatures(text, unknown, unknown, unknown)
