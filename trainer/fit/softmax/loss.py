"""InfoNCE over shared candidates, with false negatives masked and sampling corrected; category alignment."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

# pairs whose logits are computed at once on a CPU: so few that they stay in its cache; and logits at once on a GPU
_CPU_PAIRS, _GPU_LOGITS = 256, 256_000_000


# has no share in a softmax of cosines over a temperature of at least .01
_MASKED_LOGIT = -1e4


class Targets(NamedTuple):
    """The targets of P pairs among C candidates.

    `column` [P] is each pair's target. `masked` [P, M] are columns that are no negatives of the pair; columns may
    repeat, and a masked target still counts. `weights` [P] are those of a weighted mean (default: all equal);
    `total_weight` is their sum if these pairs are not all.
    """

    column: Tensor
    masked: Tensor | None = None
    weights: Tensor | None = None
    total_weight: Tensor | None = None


def info_nce(
    queries: Tensor,
    candidates: Tensor,
    targets: Targets,
    temperature: Tensor | float,
    log_q: Tensor | None = None,
    *,
    bfloat16: bool = False,
) -> Tensor:
    """Weighted mean over pairs of -log softmax(query · candidate / temperature - log_q) at the target.

    queries [P, D] and candidates [C, D] are L2-normalised. log_q [C] is the log of the probability that a candidate is
    among the C (van den Oord et al. 2018, arXiv:1807.03748; Yi et al., RecSys 2019).

    Loss and gradients are computed together, some hundred pairs at a time. The logits [P, C] never exist as a whole:
    over a whole catalogue they would take most of the time and the memory. `bfloat16` rounds the factors of the three
    matrix products, not the sums: over twice as fast if the processor has instructions for it.
    """
    scale = 1 / torch.as_tensor(temperature, dtype=queries.dtype, device=queries.device)
    weights = torch.ones(len(queries), device=queries.device) if targets.weights is None else targets.weights
    factor = torch.bfloat16 if bfloat16 else queries.dtype
    total = weights.sum() if targets.total_weight is None else targets.total_weight
    weighted = targets._replace(weights=weights / total)
    loss: Tensor = _InfoNCE.apply(queries, candidates, scale, weighted, log_q, factor)
    return loss


class _InfoNCE(torch.autograd.Function):
    """The loss; its forward pass also computes the gradients of queries, candidates and scale."""

    @staticmethod
    def forward(
        ctx: Any,
        queries: Tensor,
        candidates: Tensor,
        scale: Tensor,
        targets: Targets,
        log_q: Tensor | None,
        factor: torch.dtype,
    ) -> Tensor:
        assert targets.weights is not None
        columns = candidates.to(factor)
        to_queries, to_candidates = torch.empty_like(queries), torch.zeros_like(candidates)
        loss, to_scale = queries.new_zeros(()), queries.new_zeros(())
        size = _CPU_PAIRS if queries.device.type == "cpu" else max(1, _GPU_LOGITS // len(candidates))
        for start in range(0, len(queries), size):
            part = slice(start, start + size)
            query, own, weight = queries[part], targets.column[part][:, None], targets.weights[part][:, None]
            scaled = query * scale
            rows = scaled.to(factor)
            logits = (rows @ columns.T).to(queries.dtype)  # [p, C]
            if log_q is not None:
                logits -= log_q
            if targets.masked is not None:
                logits.scatter_(1, targets.masked[part], _MASKED_LOGIT)
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
        return upstream * queries, upstream * candidates, upstream * scale, None, None, None


def bfloat16_is_fast(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 in hardware."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def category_alignment(content: Tensor, prototypes: Tensor, category: Tensor, temperature: float) -> Tensor:
    """Mean cross-entropy of each item's category among all categories, by cosine to their prototypes.

    content [B, D] are L2-normalised item vectors computed from text alone; prototypes [K, D] have any length; category
    [B] is 1 to K, or 0 if unknown: such items do not count. Zero if no category is known.
    """
    known = category > 0
    if not bool(known.any()):
        return content.sum() * 0
    logits = content[known] @ functional.normalize(prototypes, dim=-1).T / temperature  # [B, K]
    return functional.cross_entropy(logits, category[known] - 1)


def inclusion_probabilities(share: Tensor, in_batch: int, random: int) -> Tensor:
    """The probability [N] that a product is among a step's distinct candidates.

    `share` [N] is each product's share of the training targets. A step draws `in_batch` targets by these shares, and
    `random` products uniformly without repetition: 1 - exp(-expected in-batch draws), joined with the probability of
    the uniform draw.
    """
    uniform = min(1.0, random / len(share))
    return 1 - torch.exp(-in_batch * share) * (1 - uniform)
