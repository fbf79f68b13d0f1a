"""Vectors of several heads, each normalised by itself."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Heads(nn.Module):
    """Vectors [..., D] → the same of length 1, of which each of `count` equal parts is a head of one length.

    `trainer.blend` lays other heads side by side: parts that are `together` [H, H] share one norm, and `length` [H] is
    what they have of the vector's.
    """

    together: Tensor
    length: Tensor

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count
        self.register_buffer("together", torch.eye(count))
        self.register_buffer("length", torch.full((count,), count**-0.5))

    def forward(self, vector: Tensor) -> Tensor:
        normalised: Tensor
        if self.training:  # what is trained has equal heads
            normalised = _NormaliseHeads.apply(vector, self.count)
        else:
            parts = self.parts(vector.shape[-1])
            norms = (vector.square() @ (parts.T @ self.together)).clamp(min=1e-24).sqrt()  # [..., H]
            normalised = vector * (norms.reciprocal() @ (self.length.unsqueeze(1) * parts))
        return normalised

    def parts(self, dimension: int) -> Tensor:
        """1 [H, D] where a number belongs to a head, 0 elsewhere."""
        ones = self.length.new_ones(self.count, 1, dimension // self.count)
        found: Tensor = torch.block_diag(*ones.unbind())
        return found


class _NormaliseHeads(torch.autograd.Function):
    """`Heads` of one length, with a gradient in few passes: over a whole catalogue, autograd's own takes as long as the
    matrix products."""

    @staticmethod
    def forward(ctx: Any, vector: Tensor, heads: int) -> Tensor:
        parts = vector.unflatten(-1, (heads, -1))
        scale = (parts.norm(dim=-1, keepdim=True).clamp(min=1e-12) * heads**0.5).reciprocal()
        unit = parts * scale
        ctx.save_for_backward(unit, scale)
        ctx.heads = heads
        found: Tensor = unit.flatten(-2)
        return found

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None]:
        unit, scale = ctx.saved_tensors
        gradient = upstream[0].unflatten(-1, (ctx.heads, -1))
        # what lies along a part changes its length, which is lost
        along = (gradient * unit).sum(dim=-1, keepdim=True) * ctx.heads
        found = torch.addcmul(gradient, unit, along, value=-1).mul_(scale)
        return found.flatten(-2), None
