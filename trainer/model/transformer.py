"""Causal self-attention over a history, which the `transformer` buyer tower adds to the pooled vector."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainer.config.schema import Model
from trainer.model.inputs import History

# so low that a masked interaction has no share
_MASKED_LOGIT = -1e9


class QueryView(NamedTuple):
    """How Q queries see T interactions; each field broadcasts to [B, Q, T].

    `place` counts the interactions since, `ages` the days since, and `seen` is False for masked interactions.
    """

    place: Tensor
    ages: Tensor
    seen: Tensor


class CausalTransformer(nn.Module):
    """Interactions [B, T] → vectors [B, T, D]; row t depends on interactions 0..t alone. All zero before training.

    Pre-norm blocks (as in SASRec: Kang and McAuley 2018, arXiv:1808.09781) read the item's vector and a learned vector
    of the event type. Attention adds to its logits the log of the interaction's weight, a learned term for the number
    of interactions between it and the query, and one for the days between them. Nothing depends on where a history
    begins, so the end of a longer history gives the same vector.
    """

    def __init__(self, event_types: int, config: Model) -> None:
        super().__init__()
        self.longest = config.max_history
        dimension, width, heads = config.dimension, config.transformer_width, config.transformer_heads
        self.inward = nn.Linear(dimension, width, bias=False)
        self.kind = nn.Embedding(event_types + 1, width, padding_idx=0)
        nn.init.zeros_(self.kind.weight)
        self.blocks = nn.ModuleList(_Block(width, heads, self.longest) for _ in range(config.transformer_layers))
        self.norm = nn.LayerNorm(width)
        self.outward = nn.Linear(width, dimension, bias=False)
        nn.init.zeros_(self.outward.weight)

    def forward(self, history: History) -> Tensor:
        """Vectors [B, T, D] of every prefix, from its latest `max_history` interactions."""
        values, view = self._start(history), self._view(history)
        for block in self.blocks:
            values = block(values, values, history.weights, view)
        return self._end(values)

    def last(self, history: History, place: Tensor) -> Tensor:
        """Vectors [B, D] of whole histories; `place` [B, T] counts from the newest, which is 0.

        The last block runs for the newest interaction alone.
        """
        values, newest = self._start(history), (place == 0) & history.mask
        view = self._view(history)
        for block in list(self.blocks)[:-1]:
            values = block(values, values, history.weights, view)
        # picks the newest interaction by a product, which is zero for an empty history
        asking = newest.to(values.dtype).unsqueeze(1) @ values  # [B, 1, W]
        from_newest = QueryView(place.unsqueeze(1), history.ages.unsqueeze(1), history.mask.unsqueeze(1))
        return self._end(self.blocks[-1](asking, values, history.weights, from_newest)).squeeze(1)

    def _start(self, history: History) -> Tensor:
        values: Tensor = self.inward(history.items) + self.kind(history.types * history.mask)
        # padding may hold anything, and 0 times infinity would reach the sums
        return values.masked_fill(~history.mask.unsqueeze(-1), 0)

    def _view(self, history: History) -> QueryView:
        steps = torch.arange(history.mask.shape[1], device=history.mask.device)
        place = (steps[:, None] - steps[None, :]).unsqueeze(0)  # [1, T, T]
        ages = history.ages[:, None, :] - history.ages[:, :, None]
        seen = (place >= 0) & (place < self.longest) & history.mask[:, None, :]
        return QueryView(place, ages, seen)

    def _end(self, values: Tensor) -> Tensor:
        # about length 1, like the pooled vector
        vectors: Tensor = self.outward(self.norm(values) * values.shape[-1] ** -0.5)
        return vectors


class _Block(nn.Module):
    """Self-attention and a feed-forward layer, each behind a norm and with a residual connection."""

    def __init__(self, width: int, heads: int, longest: int) -> None:
        super().__init__()
        self.heads, self.longest = heads, longest
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query = nn.Linear(width, width, bias=False)
        self.keys = nn.Linear(width, 2 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.place_bias = nn.Parameter(torch.zeros(longest, heads))
        self.recency = nn.Parameter(torch.zeros(heads))

    def forward(self, asking: Tensor, values: Tensor, weights: Tensor, view: QueryView) -> Tensor:
        """Queries `asking` [B, Q, W] attend to values [B, T, W] with event weights [B, T] → [B, Q, W]."""
        query = self._split(self.query(self.before(asking)))  # [B, H, Q, W / H]
        keys, contents = (self._split(part) for part in self.keys(self.before(values)).chunk(2, dim=-1))
        logits = query @ keys.transpose(2, 3) * (keys.shape[-1] ** -0.5)  # [B, H, Q, T]
        further = self.place_bias[view.place.clamp(0, self.longest - 1)]  # [B, Q, T, H]
        further = further - view.ages.clamp(min=0).unsqueeze(-1).log1p() * self.recency
        logits = logits + further.permute(0, 3, 1, 2) + weights.clamp(min=1e-9).log()[:, None, None, :]
        shares = torch.softmax(logits.masked_fill(~view.seen.unsqueeze(1), _MASKED_LOGIT), dim=3)
        attended = (shares @ contents).transpose(1, 2).flatten(2)
        asking = asking + self.out(attended)
        fed: Tensor = asking + self.down(functional.gelu(self.up(self.between(asking))))
        return fed

    def _split(self, values: Tensor) -> Tensor:
        """[B, T, W] → [B, H, T, W / H]."""
        parts: Tensor = values.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        return parts
