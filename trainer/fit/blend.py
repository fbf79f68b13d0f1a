"""Two models in one vector space: the linear model fills all heads of a vector but the last, the softmax the last.

The linear model is better for buyers who take many products, but the two err on different buyers. A weighted mean of
their cosines, which is the dot product of concatenated vectors, can beat either (stacking: Wolpert 1992); validation
decides. The leading eigenvectors carry most of the linear model, so it can spare a head.
"""

from __future__ import annotations

import torch
from torch import Tensor

from trainer.model.towers import Weights

# weights with one number for each head
_BY_HEAD = ("buyer.type_bias", "buyer.place_bias", "buyer.recency", "buyer.decay", "log_temperature")
_TABLES = ("item.brand.weight", "item.category.weight", "item.attribute.weight", "item.product.weight")


def last_head(weights: Weights) -> Weights:
    """Extracts the last of a softmax's H heads as a model with vectors [D / H]: heads share no weights."""
    heads = len(weights["log_temperature"])
    size = len(weights["buyer.query"]) // heads
    head = weights | {name: weights[name][:, -size:] for name in _TABLES}
    head |= {name: weights[name][-size:] for name in ("item.projection.weight", "buyer.query")}
    # the tower adds it to a vector of length 1
    head["buyer.constant"] = weights["buyer.constant"][-size:] / weights["buyer.normalise.length"][-1]
    head["buyer.next"] = weights["buyer.next"][-1:]
    head |= {name: weights[name][..., -1:] for name in _BY_HEAD}
    return head | _normalisation(torch.ones(1), torch.ones(1, 1))


def blend(linear: Weights, softmax: Weights, share: float) -> Weights:
    """Concatenates both models: the linear one fills all heads but the last, whose size is the softmax's.

    Both have one head and the attention tower. Scores are `share` x the linear model's cosine + (1 - `share`) x the
    softmax's.
    """
    size = len(softmax["buyer.query"])
    parts = len(linear["buyer.query"]) // size  # heads of the linear model
    length = torch.tensor([share**0.5] * parts + [(1 - share) ** 0.5])
    together = torch.block_diag(torch.ones(parts, parts), torch.ones(1, 1))
    blended = {name: torch.cat((linear[name], softmax[name]), dim=1) for name in _TABLES}
    for name in ("item.projection.weight", "buyer.query"):
        blended[name] = torch.cat((linear[name], softmax[name]))
    blended["buyer.constant"] = torch.cat(
        (linear["buyer.constant"] * length[0], softmax["buyer.constant"] * length[-1])
    )
    rows = linear["buyer.next"][0]
    blocks = [rows[at : at + size, at : at + size] for at in range(0, parts * size, size)]
    assert torch.equal(torch.block_diag(*blocks), rows), "the linear model maps no head to another"
    blended["buyer.next"] = torch.cat((torch.stack(blocks), softmax["buyer.next"]))
    for name in _BY_HEAD:
        blended[name] = torch.cat((linear[name].repeat_interleave(parts, dim=-1), softmax[name]), dim=-1)
    return blended | _normalisation(length, together)


def _normalisation(length: Tensor, together: Tensor) -> Weights:
    """The buffers of `Heads` in both towers: a head's dot product is its squared length times the cosine."""
    named = {"normalise.length": length, "normalise.together": together}
    # safetensors refuses tensors that share memory
    return {f"{tower}.{name}": value.clone() for tower in ("item", "buyer") for name, value in named.items()}
