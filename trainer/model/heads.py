"""Normalises the heads of vectors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Heads(nn.Module):
    """Normalises vectors [..., D] to length 1, and each of their `count` equal heads to the same length.

    A blend (`trainer.fit.blend`) joins heads: heads that are `together` [H, H] share one norm, and `length` [H] is
    their part of the vector's length.
    """

    together: Tensor
    length: Tensor

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count
        self.register_buffer("together", torch.eye(count))
        self.register_buffer("length", torch.full((count,), count**-0.5))

    def forward(self, vector: Tensor) -> Tensor:
        if self.training:  # a model in training has equal heads
            normalised: Tensor = _NormaliseHeads.apply(vector, self.count)
            return normalised
        return vector * self.factors(vector)

    def factors(self, vector: Tensor) -> Tensor:
        """What each number of vectors [..., D] is multiplied by when they are normalised."""
        parts = self.parts(vector.shape[-1])
        norms = (vector.square() @ (parts.T @ self.together)).clamp(min=1e-24).sqrt()  # [..., H]
        return norms.reciprocal() @ (self.length.unsqueeze(1) * parts)

    def parts(self, dimension: int) -> Tensor:
        """[H, D]: 1 if a number of the vector belongs to the head, else 0."""
        ones = self.length.new_ones(self.count, 1, dimension // self.count)
        belongs: Tensor = torch.block_diag(*ones.unbind())
        return belongs


class _NormaliseHeads(torch.autograd.Function):
    """`Heads` of equal length, with a gradient in few passes.

    Over a whole catalogue, autograd's own gradient takes as long as the matrix products.
    """

    @staticmethod
    def forward(ctx: Any, vector: Tensor, heads: int) -> Tensor:
        parts = vector.unflatten(-1, (heads, -1))
        scale = (parts.norm(dim=-1, keepdim=True).clamp(min=1e-12) * heads**0.5).reciprocal()
        unit = parts * scale
        ctx.save_for_backward(unit, scale)
        ctx.heads = heads
        normalised: Tensor = unit.flatten(-2)
        return normalised

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None]:
        unit, scale = ctx.saved_tensors
        gradient = upstream[0].unflatten(-1, (ctx.heads, -1))
        # a change along a head changes its length only, which normalisation removes
        along = (gradient * unit).sum(dim=-1, keepdim=True) * ctx.heads
        return torch.addcmul(gradient, unit, along, value=-1).mul_(scale).flatten(-2), None
