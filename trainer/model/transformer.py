"""Causal self-attention over a history: what the `transformer` buyer tower adds to a pooled vector."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainer.model.inputs import History

# an attention logit that leaves no share
_BARRED = -1e9


class Asked(NamedTuple):
    """What Q queries know of T interactions: how many came since (`place`), days since (`ages`), and whether they may
    look at them (`seen`); each broadcasts to [B, Q, T]."""

    place: Tensor
    ages: Tensor
    seen: Tensor


class CausalTransformer(nn.Module):
    """Interactions [B, T] → vectors [B, T, D], row t of interactions 0..t alone; zero before the first step.

    Pre-norm blocks (as in SASRec: Kang and McAuley 2018, arXiv:1808.09781) of `width` numbers, on the item's vector
    and a learned one of the event type. Attention adds to its logits the log of the interaction's weight, a learned
    term for its place counted from the one that looks, and one for the days between both: nothing depends on where a
    history begins, so that a part of a longer one means the same.
    """

    def __init__(self, dimension: int, event_types: int, longest: int, width: int, heads: int, layers: int) -> None:
        super().__init__()
        self.longest = longest
        self.inward = nn.Linear(dimension, width, bias=False)
        self.kind = nn.Embedding(event_types + 1, width, padding_idx=0)
        nn.init.zeros_(self.kind.weight)
        self.blocks = nn.ModuleList(_Block(width, heads, longest) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.outward = nn.Linear(width, dimension, bias=False)
        nn.init.zeros_(self.outward.weight)

    def forward(self, history: History) -> Tensor:
        """Vectors [B, T, D] of every prefix of at most `longest` interactions."""
        values, everything = self._start(history), self._among(history)
        for block in self.blocks:
            values = block(values, values, history.weights, everything)
        return self._end(values)

    def last(self, history: History, place: Tensor) -> Tensor:
        """Vectors [B, D] of whole histories; `place` [B, T] counts from the newest, which is 0.

        The last block runs for the newest interaction alone.
        """
        values, newest = self._start(history), (place == 0) & history.mask
        among = self._among(history)
        for block in list(self.blocks)[:-1]:
            values = block(values, values, history.weights, among)
        # the one interaction that is the newest, as a product: no row of an empty history is taken
        asking = newest.to(values.dtype).unsqueeze(1) @ values  # [B, 1, W]
        from_newest = Asked(place.unsqueeze(1), history.ages.unsqueeze(1), history.mask.unsqueeze(1))
        return self._end(self.blocks[-1](asking, values, history.weights, from_newest)).squeeze(1)

    def _start(self, history: History) -> Tensor:
        values: Tensor = self.inward(history.items) + self.kind(history.types * history.mask)
        # what padding holds must not reach a sum, not even as 0 times infinity
        return values.masked_fill(~history.mask.unsqueeze(-1), 0)

    def _among(self, history: History) -> Asked:
        steps = torch.arange(history.mask.shape[1], device=history.mask.device)
        place = (steps[:, None] - steps[None, :]).unsqueeze(0)  # [1, T, T]
        ages = history.ages[:, None, :] - history.ages[:, :, None]
        seen = (place >= 0) & (place < self.longest) & history.mask[:, None, :]
        return Asked(place, ages, seen)

    def _end(self, values: Tensor) -> Tensor:
        # of about unit length, as what it is added to is
        found: Tensor = self.outward(self.norm(values) * values.shape[-1] ** -0.5)
        return found


class _Block(nn.Module):
    """Self-attention and a feed-forward layer, each behind a norm and beside a straight way."""

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

    def forward(self, asking: Tensor, values: Tensor, weights: Tensor, asked: Asked) -> Tensor:
        """asking [B, Q, W] look at values [B, T, W] of weights [B, T] → [B, Q, W]."""
        query = self._split(self.query(self.before(asking)))  # [B, H, Q, W / H]
        keys, contents = (self._split(part) for part in self.keys(self.before(values)).chunk(2, dim=-1))
        logits = query @ keys.transpose(2, 3) * (keys.shape[-1] ** -0.5)  # [B, H, Q, T]
        further = self.place_bias[asked.place.clamp(0, self.longest - 1)]  # [B, Q, T, H]
        further = further - asked.ages.clamp(min=0).unsqueeze(-1).log1p() * self.recency
        logits = logits + further.permute(0, 3, 1, 2) + weights.clamp(min=1e-9).log()[:, None, None, :]
        shares = torch.softmax(logits.masked_fill(~asked.seen.unsqueeze(1), _BARRED), dim=3)
        found = (shares @ contents).transpose(1, 2).flatten(2)
        asking = asking + self.out(found)
        fed: Tensor = asking + self.down(functional.gelu(self.up(self.between(asking))))
        return fed

    def _split(self, values: Tensor) -> Tensor:
        """[B, T, W] → [B, H, T, W / H]."""
        parts: Tensor = values.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        return parts
