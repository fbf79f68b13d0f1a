"""The two towers in torch. The graphs that services run are exported from these modules."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainer.config.schema import Model
from trainer.model.heads import Heads
from trainer.model.inputs import History, ItemFeatures, Sizes
from trainer.model.transformer import CausalTransformer

Weights = dict[str, Tensor]  # a state_dict of the towers

# vectors start much shorter than they grow: only directions count, and those of short vectors are learned quickly
_ROW_SCALE, _TEXT_SCALE = 0.02, 0.2
# so low that padding has no share in a softmax
_PADDING_LOGIT = -1e9


class ItemTower(nn.Module):
    """text [B, E], brand, category, product [B] → vectors [B, D] of H heads, L2-normalised.

    The vector is the projected text plus the vectors of brand, category and product; an unknown one (index 0) adds
    nothing. Each head is normalised by itself, so the dot product of two vectors is the mean of the heads' cosines:
    each head is a model of its own, and several with different random starts are better than one of the same total
    size.

    In training, `attributes` [B, A] add the mean of their vectors. Services have no such input:
    `served_weights.fold_attributes` adds that mean to the products' rows.
    """

    def __init__(self, sizes: Sizes, heads: int, config: Model) -> None:
        super().__init__()
        dimension, text, self.normalise = config.dimension, sizes.text, Heads(heads)
        self.projection = nn.Linear(text, dimension, bias=False)
        # starts as close to the geometry of the texts as the sizes allow: an untrained tower already ranks by content
        nn.init.eye_(self.projection.weight) if text == dimension else nn.init.orthogonal_(self.projection.weight)
        with torch.no_grad():
            self.projection.weight *= _TEXT_SCALE
        self.brand = _table(sizes.brands if config.brand_embedding else 0, dimension)
        self.category = _table(sizes.categories if config.category_embedding else 0, dimension)
        self.attribute = _table(sizes.attributes if config.attribute_embedding else 0, dimension)
        # services get the attributes in the products' rows
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

    def of_texts(self, text: Tensor) -> Tensor:
        """The vectors [B, D] of items with a text [B, E] and nothing else.

        Unlike `forward` it touches no table: the gradient of the products' table, as large as the table, stays out.
        """
        vectors: Tensor = self.normalise(self.projection(functional.normalize(text, dim=-1)))
        return vectors

    def content(self, text: Tensor, brand: Tensor, category: Tensor) -> Tensor:
        """What text, brand and category add up to [B, D], before the product's own row and the norm."""
        projected: Tensor = self.projection(functional.normalize(text, dim=-1))
        return projected + _rows(self.brand, brand) + _rows(self.category, category)


def _rows(table: nn.Embedding, index: Tensor) -> Tensor:
    # an embedding that is switched off has row 0 alone; clamping keeps the input in the exported graph
    rows: Tensor = table(index.clamp(max=table.num_embeddings - 1))
    return rows


def attribute_means(table: Tensor, attributes: Tensor) -> Tensor:
    """Means [B, D] of the rows of `table` [V, D] that attributes [B, A] name; 0 names none, and no names give zero."""
    # needs no [B, A, D] of memory, unlike an embedding and a mean
    means: Tensor = functional.embedding_bag(attributes, table, mode="mean", padding_idx=0)
    return means


def _table(rows: int, dimension: int) -> nn.Embedding:
    table = nn.Embedding(rows + 1, dimension, padding_idx=0)
    nn.init.normal_(table.weight, std=_ROW_SCALE)
    with torch.no_grad():
        table.weight[0] = 0
    return table


class BuyerTower(nn.Module):
    """History → one L2-normalised vector [B, D]: each head pools item vectors by a softmax over the interactions.

    `weighted_average`: the share of an interaction is its event weight, halved every `half_life_days`. `attention`
    multiplies that by exp(learned query · item + learned terms for event type, age, and place counted from the newest).
    It adds to the pooled vector a learned linear map of it, zero at first, because the next product differs from the
    last ones, and a learned constant for what buyers take whatever their history. `transformer` adds a causal
    transformer to `attention`.
    """

    decay: Tensor

    def __init__(self, event_types: int, heads: int, config: Model) -> None:
        super().__init__()
        self.has_attention = config.buyer_tower != "weighted_average"
        self.heads, self.longest, self.normalise = heads, config.max_history, Heads(heads)
        decay = 0.6931471805599453 / config.half_life_days if config.half_life_days else 0.0
        self.register_buffer("decay", torch.full((heads,), decay))
        if self.has_attention:
            self.query = nn.Parameter(torch.zeros(config.dimension))
            self.type_bias = nn.Parameter(torch.zeros(event_types + 1, self.heads))
            self.place_bias = nn.Parameter(torch.zeros(self.longest, self.heads))
            self.recency = nn.Parameter(torch.zeros(self.heads))
            size = config.dimension // self.heads
            self.next = nn.Parameter(torch.zeros(self.heads, size, size))
            self.constant = nn.Parameter(torch.zeros(config.dimension))
        self.transformer = None
        if config.buyer_tower == "transformer":
            self.transformer = CausalTransformer(event_types, config)

    def forward(self, items: Tensor, weights: Tensor, types: Tensor, ages: Tensor, mask: Tensor) -> Tensor:
        # few operators: for a service that encodes one history, each costs as much as its arithmetic
        count, place = _places(mask)
        shares = self._shares(items, weights, types, ages, mask, place)
        # pools whole vectors for every head, then keeps each head's own part: one product, and no [B, T, D] in between
        pooled = ((shares @ items) * self.normalise.parts(items.shape[2])).sum(dim=1)
        if self.transformer is not None:
            pooled = pooled + self.transformer.last(History(items, weights, types, ages, mask), place)
        return self._to_vector(pooled) * count.clamp(max=1)  # zero for an empty history

    def parts(self, items: Tensor, weights: Tensor, types: Tensor, ages: Tensor, mask: Tensor) -> Tensor:
        """The vectors as sums [B, T + 1, D]: a row for each interaction, then one for all that no interaction adds.

        The last row holds the learned constant and what a transformer adds. The sum over the rows is `forward`.
        """
        _, place = _places(mask)
        shares = self._shares(items, weights, types, ages, mask, place)
        pooled = (shares.transpose(1, 2) @ self.normalise.parts(items.shape[2])) * items  # [B, T, D]
        rest = torch.zeros_like(pooled[:, :1])
        if self.transformer is not None:
            rest = rest + self.transformer.last(History(items, weights, types, ages, mask), place).unsqueeze(1)
        rows = torch.cat((pooled, rest), dim=1)  # [B, T + 1, D]
        if self.has_attention:
            onward = self._onward(rows)
            rows = onward * self.normalise.factors(onward.sum(dim=1, keepdim=True))
            rows = torch.cat((rows[:, :-1], rows[:, -1:] + self.constant), dim=1)
        return rows * self.normalise.factors(rows.sum(dim=1, keepdim=True))

    def prefixes(self, history: History, keep: Tensor | None = None) -> Tensor:
        """Vectors [B, T, D] of every prefix: row t is `forward` of the latest `max_history` of interactions 0..t.

        `keep` [B, T]: False for interactions that training drops; the newest of a prefix always stays. Rows of padding
        are undefined.
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
        own = self._logits(history.items, history.weights, history.types, history.mask)  # [B, H, T]
        logits = own.unsqueeze(2) + self._age_terms(age.unsqueeze(1))  # [B, H, T, T]
        if self.has_attention:
            logits = logits + self._place_terms(place).permute(2, 0, 1)
        shares = torch.softmax(logits.masked_fill(~seen, _PADDING_LOGIT), dim=3)
        parts = history.items.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # [B, H, T, D / H]
        pooled = (shares @ parts).transpose(1, 2).flatten(-2)
        if self.transformer is not None:
            pooled = pooled + self.transformer(history)
        return self._to_vector(pooled)

    def _shares(
        self, items: Tensor, weights: Tensor, types: Tensor, ages: Tensor, mask: Tensor, place: Tensor
    ) -> Tensor:
        """The share [B, H, T] of each interaction in the heads' pooled vectors; those of a row sum to 1."""
        logits = self._logits(items, weights, types, mask, place) + self._age_terms(ages.unsqueeze(1))
        return torch.softmax(logits, dim=2)

    def _logits(
        self, items: Tensor, weights: Tensor, types: Tensor, mask: Tensor, place: Tensor | None = None
    ) -> Tensor:
        """Logits [B, H, T] of the interactions by weight, item and event type, and by `place` [B, T] if given."""
        logits = torch.where(mask, weights.clamp(min=1e-9).log(), _PADDING_LOGIT).unsqueeze(1)  # [B, 1, T]
        if not self.has_attention:
            return logits.expand(-1, self.heads, -1)
        # one matrix [H, D] of all heads' queries, for one product with every item; items' heads have the length
        # `normalise.length`, and queries are learned for length 1
        query = torch.block_diag(*self.query.unflatten(0, (self.heads, -1)).unbind())
        by_query = (query / self.normalise.length.unsqueeze(1)) @ items.transpose(1, 2)
        learned = functional.embedding(types, self.type_bias)  # [B, T, H]
        if place is not None:
            learned = learned + self._place_terms(place)
        whole: Tensor = logits + by_query + learned.transpose(1, 2)
        return whole

    def _age_terms(self, ages: Tensor) -> Tensor:
        """Terms [B, H, ...] of the logits for ages [B, 1, ...] in days."""
        by_head = (-1, *[1] * (ages.dim() - 2))
        decayed: Tensor = ages * -self.decay.view(by_head)
        return decayed - ages.log1p() * self.recency.view(by_head) if self.has_attention else decayed

    def _place_terms(self, place: Tensor) -> Tensor:
        """Terms [..., H] of the logits for places [...], counted from the newest."""
        return functional.embedding(place.clamp(0, self.longest - 1), self.place_bias)

    def _to_vector(self, pooled: Tensor) -> Tensor:
        """Buyer vectors [..., D] from the pooled vectors of histories that are not empty."""
        if self.has_attention:
            pooled = self.normalise(self._onward(pooled)) + self.constant
        normalised: Tensor = self.normalise(pooled)
        return normalised

    def _onward(self, pooled: Tensor) -> Tensor:
        """Vectors [..., D] plus the learned linear map of each head."""
        parts = pooled.reshape(-1, self.heads, self.next.shape[1]).transpose(0, 1)  # [H, ..., D / H]
        onward = parts @ (self.next + torch.eye(self.next.shape[1], device=pooled.device))
        return onward.transpose(0, 1).reshape(pooled.shape)


class BuyerParts(nn.Module):
    """The parts [B, T + 1, D] of a buyer tower's vectors, see `BuyerTower.parts`."""

    def __init__(self, tower: BuyerTower) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, items: Tensor, weights: Tensor, types: Tensor, ages: Tensor, mask: Tensor) -> Tensor:
        return self.tower.parts(items, weights, types, ages, mask)


def _places(mask: Tensor) -> tuple[Tensor, Tensor]:
    """How many interactions each row has [B, 1], and their places [B, T] counted from the newest, which is 0."""
    present = mask.to(torch.float32)
    count = present.sum(dim=1, keepdim=True)
    return count, (count - present.cumsum(dim=1)).long()


class TwoTower(nn.Module):
    """Both towers and the temperatures [H] of their heads' softmax."""

    def __init__(self, sizes: Sizes, config: Model, temperature: float, heads: int = 0) -> None:
        """`heads` 0 takes the configured number."""
        super().__init__()
        heads = heads or config.head_count
        self.item = ItemTower(sizes, heads, config)
        self.buyer = BuyerTower(sizes.event_types, heads, config)
        self.log_temperature = nn.Parameter(torch.full((heads,), temperature).log())

    def items(self, features: ItemFeatures) -> Tensor:
        vectors: Tensor = self.item(*features)
        return vectors


def load_towers(weights: Weights, config: Model) -> TwoTower:
    """Towers with these weights, on their device, for inference. They hold the given tensors, not copies of them.

    The sizes, the dimension and the number of heads are those of the weights; the rest is that of `config`.
    """
    dimension, text = weights["item.projection.weight"].shape
    sizes = Sizes(
        text=text,
        brands=len(weights["item.brand.weight"]) - 1,
        categories=len(weights["item.category.weight"]) - 1,
        products=len(weights["item.product.weight"]) - 1,
        attributes=len(weights["item.attribute.weight"]) - 1,
        # the weighted average has no weights for event types
        event_types=len(weights["buyer.type_bias"]) - 1 if "buyer.type_bias" in weights else 0,
    )
    temperatures = weights["log_temperature"]
    settings = config.model_copy(update={"dimension": dimension})
    with torch.device("meta"):  # a large catalogue's rows are neither drawn nor copied
        model = TwoTower(sizes, settings, 1.0, len(temperatures))
    model.load_state_dict(weights, assign=True)
    return model.eval()
