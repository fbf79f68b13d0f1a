"""InfoNCE over shared candidates, with false negatives masked and sampling corrected."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

# pairs whose logits are held at once: on a CPU so few that they stay near the core
_CPU_PAIRS, _GPU_LOGITS = 256, 256_000_000


# a logit that weighs nothing beside any of cosines over a temperature of at least .01
_BARRED = -1e4


def info_nce(
    queries: Tensor,
    candidates: Tensor,
    target: Tensor,
    temperature: Tensor | float,
    barred: Tensor | None = None,
    log_q: Tensor | None = None,
    weights: Tensor | None = None,
    *,
    bfloat16: bool = False,
) -> Tensor:
    """Weighted mean over pairs of -log softmax(query · candidate / temperature - log_q) at the target.

    queries [P, D] and candidates [C, D] are L2-normalised, target [P] is each pair's column; barred [P, M] are columns
    that are no negatives of the pair, repeated at will (a barred target counts all the same); log_q [C] is the log of
    how often a candidate is expected among the C (van den Oord et al. 2018, arXiv:1807.03748; Yi et al., RecSys 2019).

    Loss and gradients are worked out together, some hundred pairs at a time: the [P, C] logits never exist, which over
    a whole catalogue is most of the time and the memory. `bfloat16` rounds the factors of its three products, not the
    sums: over twice as fast where the processor has instructions for it.
    """
    scale = 1 / torch.as_tensor(temperature, dtype=queries.dtype, device=queries.device)
    if weights is None:
        weights = torch.ones(len(queries), device=queries.device)
    loss: Tensor = _InfoNCE.apply(queries, candidates, scale, target, barred, log_q, weights / weights.sum(), bfloat16)
    return loss


class _InfoNCE(torch.autograd.Function):
    """The loss, with the gradients of queries, candidates and scale made in the forward pass."""

    @staticmethod
    def forward(
        ctx: Any,
        queries: Tensor,
        candidates: Tensor,
        scale: Tensor,
        target: Tensor,
        barred: Tensor | None,
        log_q: Tensor | None,
        weights: Tensor,
        bfloat16: bool,
    ) -> Tensor:
        factor = torch.bfloat16 if bfloat16 else queries.dtype
        columns = candidates.to(factor)
        to_queries, to_candidates = torch.empty_like(queries), torch.zeros_like(candidates)
        loss, to_scale = queries.new_zeros(()), queries.new_zeros(())
        size = _CPU_PAIRS if queries.device.type == "cpu" else max(1, _GPU_LOGITS // len(candidates))
        for start in range(0, len(queries), size):
            part = slice(start, start + size)
            query, own, weight = queries[part], target[part][:, None], weights[part][:, None]
            scaled = query * scale
            rows = scaled.to(factor)
            logits = (rows @ columns.T).to(queries.dtype)  # [p, C]
            if log_q is not None:
                logits -= log_q
            if barred is not None:
                logits.scatter_(1, barred[part], _BARRED)
            exact = (scaled * candidates[own[:, 0]]).sum(dim=1, keepdim=True)
            if log_q is not None:
                exact = exact - log_q[own]
            logits.scatter_(1, own, exact)
            highest = logits.amax(dim=1, keepdim=True)
            shares = logits.sub_(highest).exp_()
            total = shares.sum(dim=1, keepdim=True)
            loss = loss + ((total.log() + highest - exact) * weight).sum()
            shares.div_(total).scatter_add_(1, own, shares.new_full(own.shape, -1)).mul_(weight)
            low = shares.to(factor)
            pull = (low @ columns).to(queries.dtype)  # [p, D]
            to_queries[part] = pull * scale
            to_scale = to_scale + (pull * query).sum()
            to_candidates += (low.T @ rows).to(queries.dtype)
        ctx.save_for_backward(to_queries, to_candidates, to_scale)
        return loss

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        queries, candidates, scale = ctx.saved_tensors
        return upstream * queries, upstream * candidates, upstream * scale, None, None, None, None, None


def bfloat16_is_fast(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 in hardware."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    found = torch.cpu.get_capabilities()
    return bool(found.get("avx512_bf16") or found.get("amx_bf16"))


def category_alignment(content: Tensor, prototypes: Tensor, category: Tensor, temperature: float) -> Tensor:
    """Mean cross-entropy of each item's category among all categories, by cosine to their prototypes.

    content [B, D] are item vectors of text alone, L2-normalised; prototypes [K, D] of any length; category [B] is 1 to
    K, and 0 where it is unknown: such items do not count. Zero where no category is known.
    """
    known = category > 0
    if not bool(known.any()):
        return content.sum() * 0
    logits = content[known] @ functional.normalize(prototypes, dim=-1).T / temperature  # [B, K]
    return functional.cross_entropy(logits, category[known] - 1)


def expected_counts(share: Tensor, in_batch: int, random: int) -> Tensor:
    """The probability [N] that a product is among a step's distinct candidates.

    `share` [N] is each product's share of the training targets; `in_batch` targets are drawn by it, `random` ones
    uniformly without repetition. 1 - exp(-expected in-batch draws), joined with the uniform draw's inclusion.
    """
    uniform = min(1.0, random / len(share))
    return 1 - torch.exp(-in_batch * share) * (1 - uniform)
