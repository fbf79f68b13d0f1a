"""The two towers in torch. The graphs that services run are exported from these very modules."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainer.config.schema import Model
from trainer.model.heads import Heads
from trainer.model.inputs import History, ItemFeatures, Sizes
from trainer.model.transformer import CausalTransformer

# small beside the length that vectors grow to: directions, which are all that counts, are learned quickly
_ROW_SCALE, _TEXT_SCALE = 0.02, 0.2


# the logit of what is not there: so low that it has no share
_NOT_THERE = -1e9


class ItemTower(nn.Module):
    """text [B, E], brand, category, product [B] → vectors [B, D] of H heads, L2-normalised.

    The projected text plus the vectors of brand, category and product, each left out where it is unknown (index 0).
    Each head is normalised by itself, so that the product of two vectors is the mean of the heads' cosines: a head is a
    model of its own, and several that start from different draws are better than one as long as them together.

    `attributes` [B, A] add the mean of their vectors while training. Services have no such input: `folded` puts that
    mean into the rows of the products.
    """

    def __init__(self, sizes: Sizes, heads: int, config: Model) -> None:
        super().__init__()
        dimension, text, self.normalise = config.dimension, sizes.text, Heads(heads)
        self.projection = nn.Linear(text, dimension, bias=False)
        # starts as near to the text's own geometry as the sizes allow: an untrained tower already ranks by content
        nn.init.eye_(self.projection.weight) if text == dimension else nn.init.orthogonal_(self.projection.weight)
        with torch.no_grad():
            self.projection.weight *= _TEXT_SCALE
        self.brand = _table(sizes.brands if config.brand_embedding else 0, dimension)
        self.category = _table(sizes.categories if config.category_embedding else 0, dimension)
        self.attribute = _table(sizes.attributes if config.attribute_embedding else 0, dimension)
        # attributes need the rows of the products to be served
        rows = config.product_embedding or self.attribute.num_embeddings > 1
        self.product = _table(sizes.products if rows else 0, dimension)
        if not config.product_embedding:
            nn.init.zeros_(self.product.weight)
            self.product.weight.requires_grad_(False)

    def forward(
        self, text: Tensor, brand: Tensor, category: Tensor, product: Tensor, attributes: Tensor | None = None
    ) -> Tensor:
        vector = self.content(text, brand, category) + _rows(self.product, product)
        if attributes is not None and attributes.shape[1] and self.attribute.num_embeddings > 1:
            vector = vector + attribute_means(self.attribute.weight, attributes)
        normalised: Tensor = self.normalise(vector)
        return normalised

    def content(self, text: Tensor, brand: Tensor, category: Tensor) -> Tensor:
        """What text, brand and category add up to [B, D], before the product's own row and the norm."""
        projected: Tensor = self.projection(functional.normalize(text, dim=-1))
        return projected + _rows(self.brand, brand) + _rows(self.category, category)


def _rows(table: nn.Embedding, index: Tensor) -> Tensor:
    # a table without rows (an embedding that is switched off) has row 0 alone; the input stays in the graph
    found: Tensor = table(index.clamp(max=table.num_embeddings - 1))
    return found


def attribute_means(table: Tensor, attributes: Tensor) -> Tensor:
    """The mean [B, D] of the rows of `table` [V, D] that attributes [B, A] name; 0 names none, and none make zero."""
    # the vectors of single attributes [B, A, D] never exist
    means: Tensor = functional.embedding_bag(attributes, table, mode="mean", padding_idx=0)
    return means


def _table(rows: int, dimension: int) -> nn.Embedding:
    table = nn.Embedding(rows + 1, dimension, padding_idx=0)
    nn.init.normal_(table.weight, std=_ROW_SCALE)
    with torch.no_grad():
        table.weight[0] = 0
    return table


class BuyerTower(nn.Module):
    """A history → one L2-normalised vector [B, D]: in each head, a softmax over the interactions pools item vectors.

    `weighted_average`: the share of an interaction is its event weight, halved every `half_life_days`. `attention`
    multiplies that by exp(learned query · item + learned terms for event type, for age and for the place counted from
    the newest), and adds to the pooled vector a learned linear map of it, zero at first (what is bought next is not
    what was), and a learned vector: what buyers take whatever they took before.
    """

    decay: Tensor

    def __init__(self, event_types: int, heads: int, config: Model) -> None:
        super().__init__()
        self.attention = config.buyer_tower != "weighted_average"
        self.heads, self.longest, self.normalise = heads, config.max_history, Heads(heads)
        decay = 0.6931471805599453 / config.half_life_days if config.half_life_days else 0.0
        self.register_buffer("decay", torch.full((heads,), decay))
        if self.attention:
            self.query = nn.Parameter(torch.zeros(config.dimension))
            self.type_bias = nn.Parameter(torch.zeros(event_types + 1, self.heads))
            self.place_bias = nn.Parameter(torch.zeros(self.longest, self.heads))
            self.recency = nn.Parameter(torch.zeros(self.heads))
            size = config.dimension // self.heads
            self.next = nn.Parameter(torch.zeros(self.heads, size, size))
            self.constant = nn.Parameter(torch.zeros(config.dimension))
        self.transformer = None
        if config.buyer_tower == "transformer":
            self.transformer = CausalTransformer(
                config.dimension, event_types, self.longest,
                config.transformer_width, config.transformer_heads, config.transformer_layers,
            )  # fmt: skip

    def forward(self, items: Tensor, weights: Tensor, types: Tensor, ages: Tensor, mask: Tensor) -> Tensor:
        # few operators: each costs a service that encodes one history as much as its arithmetic
        there = mask.to(items.dtype)
        count = there.sum(dim=1, keepdim=True)  # [B, 1]
        place = (count - there.cumsum(dim=1)).long()  # [B, T], 0 = newest
        logits = self._own(items, weights, types, mask, place) + self._aged(ages.unsqueeze(1))  # [B, H, T]
        shares = torch.softmax(logits, dim=2)
        # every head's shares of whole vectors, of which each keeps its own part: one product, and nothing [B, T, D]
        pooled = ((shares @ items) * self.normalise.parts(items.shape[2])).sum(dim=1)
        if self.transformer is not None:
            pooled = pooled + self.transformer.last(History(items, weights, types, ages, mask), place)
        return self._finish(pooled) * count.clamp(max=1)  # of an empty history there is nothing to say

    def prefixes(self, history: History, keep: Tensor | None = None) -> Tensor:
        """Vectors [B, T, D] of every prefix: row t is what `forward` gives for the latest of interactions 0..t.

        `keep` [B, T]: interactions that training leaves out are False; the newest of a prefix always stays. Rows of
        padding mean nothing.
        """
        length = history.mask.shape[1]
        steps = torch.arange(length, device=history.mask.device)
        place = steps[:, None] - steps[None, :]  # [T, T]
        seen = (place >= 0) & (place < self.longest)
        if keep is not None:
            seen = seen & (keep[:, None, :] | (steps[:, None] == steps[None, :]))
        seen = (seen & history.mask[:, None, :]).unsqueeze(1)  # [B, 1, T, T]
        # ages count from each prefix's own newest event
        age = (history.ages[:, None, :] - history.ages[:, :, None]).clamp(min=0)  # [B, T, T]
        own = self._own(history.items, history.weights, history.types, history.mask)  # [B, H, T]
        logits = own.unsqueeze(2) + self._aged(age.unsqueeze(1))  # [B, H, T, T]
        if self.attention:
            logits = logits + self._at(place).permute(2, 0, 1)
        shares = torch.softmax(logits.masked_fill(~seen, _NOT_THERE), dim=3)
        parts = history.items.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # [B, H, T, D / H]
        pooled = (shares @ parts).transpose(1, 2).flatten(-2)
        if self.transformer is not None:
            pooled = pooled + self.transformer(history)
        return self._finish(pooled)

    def _own(self, items: Tensor, weights: Tensor, types: Tensor, mask: Tensor, place: Tensor | None = None) -> Tensor:
        """The part of the logits [B, H, T] that an interaction has by itself or, with `place` [B, T], by its place."""
        logits = torch.where(mask, weights.clamp(min=1e-9).log(), _NOT_THERE).unsqueeze(1)  # [B, 1, T]
        if not self.attention:
            return logits.expand(-1, self.heads, -1)
        # one matrix [H, D] of the heads' own queries: their products with every item at once. They are of unit heads,
        # whatever their number and length
        query = torch.block_diag(*self.query.unflatten(0, (self.heads, -1)).unbind())
        asked = (query / self.normalise.length.unsqueeze(1)) @ items.transpose(1, 2)
        learned = functional.embedding(types, self.type_bias)  # [B, T, H]
        if place is not None:
            learned = learned + self._at(place)
        found: Tensor = logits + asked + learned.transpose(1, 2)
        return found

    def _aged(self, ages: Tensor) -> Tensor:
        """The part of the logits [B, H, ...] that comes from ages [B, 1, ...] in days."""
        by_head = (-1, *[1] * (ages.dim() - 2))
        faded: Tensor = ages * -self.decay.view(by_head)
        return faded - ages.log1p() * self.recency.view(by_head) if self.attention else faded

    def _at(self, place: Tensor) -> Tensor:
        """The part of the logits [..., H] that comes from places [...], counted from the newest."""
        return functional.embedding(place.clamp(0, self.longest - 1), self.place_bias)

    def _finish(self, pooled: Tensor) -> Tensor:
        """Vectors [..., D] of what was pooled from histories that are not empty."""
        if self.attention:
            parts = pooled.reshape(-1, self.heads, self.next.shape[1]).transpose(0, 1)  # [H, ..., D / H]
            onward = parts @ (self.next + torch.eye(self.next.shape[1], device=pooled.device))
            pooled = self.normalise(onward.transpose(0, 1).reshape(pooled.shape)) + self.constant
        found: Tensor = self.normalise(pooled)
        return found


class TwoTower(nn.Module):
    """Both towers and the temperatures [H] of their heads' softmax."""

    def __init__(self, sizes: Sizes, config: Model, temperature: float, heads: int = 0) -> None:
        super().__init__()
        heads = heads or config.head_count
        self.item = ItemTower(sizes, heads, config)
        self.buyer = BuyerTower(sizes.event_types, heads, config)
        self.log_temperature = nn.Parameter(torch.full((heads,), temperature).log())

    def items(self, features: ItemFeatures) -> Tensor:
        vectors: Tensor = self.item(*features)
        return vectors


def folded(weights: dict[str, Tensor], features: ItemFeatures, trained: Tensor) -> dict[str, Tensor]:
    """Weights whose rows of products are all that services need to know of them.

    To each row the mean of the product's attributes is added. The own vector of a product that is not `trained` [N]
    gives way to that of the unknown product: nothing has placed it, it stands where it was drawn or where negatives
    pushed it.
    """
    rows, table = weights["item.product.weight"].clone(), weights["item.attribute.weight"]
    if len(rows) > 1:  # one row alone: neither product nor attribute vectors are used
        rows[1:][~trained.to(rows.device)] = rows[0]
        if len(table) > 1 and features.attributes.shape[1]:
            rows[1:] += attribute_means(table, features.attributes.to(rows.device))
    return weights | {"item.product.weight": rows, "item.attribute.weight": torch.zeros_like(table)}
