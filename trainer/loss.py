"""InfoNCE over shared candidates, with false negatives masked and sampling corrected."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def info_nce(
    queries: Tensor,
    candidates: Tensor,
    target: Tensor,
    temperature: Tensor | float,
    masked: Tensor | None = None,
    log_q: Tensor | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """Weighted mean over pairs of -log softmax(query · candidate / temperature - log_q) at the target.

    queries [P, D] and candidates [C, D] are L2-normalised, target [P] is each pair's column; masked [P, C] is True for
    candidates that are no negatives of the pair (a masked target counts all the same); log_q [C] is the log of how
    often a candidate is expected among the C (van den Oord et al. 2018, arXiv:1807.03748; Yi et al., RecSys 2019).
    """
    logits = queries @ candidates.T / temperature  # [P, C]
    if log_q is not None:
        logits = logits - log_q
    if masked is not None:
        masked = masked.scatter(1, target[:, None], False)
        logits = logits.masked_fill(masked, float("-inf"))
    losses = functional.cross_entropy(logits, target, reduction="none")  # [P]
    if weights is None:
        return losses.mean()
    return (losses * weights).sum() / weights.sum()


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
