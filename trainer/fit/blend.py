"""Two models in one vector space: most of a vector is the linear model's, its last head is one of the softmax's.

Where buyers take many products, the linear model is the better one, but both err on other buyers: a mean of their
cosines, which is the product of vectors laid side by side, can beat either (stacking: Wolpert 1992), and validation
finds out. The leading eigenvectors hold most of what the linear model knows, so that it spares a head.
"""

from __future__ import annotations

import torch
from torch import Tensor

Weights = dict[str, Tensor]


# one number of each head
_BY_HEAD = ("buyer.type_bias", "buyer.place_bias", "buyer.recency", "buyer.decay", "log_temperature")


_TABLES = ("item.brand.weight", "item.category.weight", "item.attribute.weight", "item.product.weight")


def last_head(weights: Weights) -> Weights:
    """The last of a softmax's H heads as a model of its own, of vectors [D / H]: heads share nothing."""
    heads = len(weights["log_temperature"])
    size = len(weights["buyer.query"]) // heads
    found = weights | {name: weights[name][:, -size:] for name in _TABLES}
    found |= {name: weights[name][-size:] for name in ("item.projection.weight", "buyer.query")}
    # what is added to a vector of length 1
    found["buyer.constant"] = weights["buyer.constant"][-size:] / weights["buyer.normalise.length"][-1]
    found["buyer.next"] = weights["buyer.next"][-1:]
    found |= {name: weights[name][..., -1:] for name in _BY_HEAD}
    return found | _lengths(torch.ones(1), torch.ones(1, 1))


def blend(linear: Weights, softmax: Weights, share: float) -> Weights:
    """The weights of both models, each of one head, as one of equal parts, as long as the softmax's vectors, of which
    the linear model has all but the last.

    The product of a buyer's and an item's vector is `share` times the linear model's cosine and 1 - `share` times the
    softmax's. Both are of the attention tower.
    """
    size = len(softmax["buyer.query"])
    parts = len(linear["buyer.query"]) // size  # of the linear model
    length = torch.tensor([share**0.5] * parts + [(1 - share) ** 0.5])
    together = torch.block_diag(torch.ones(parts, parts), torch.ones(1, 1))
    found = {name: torch.cat((linear[name], softmax[name]), dim=1) for name in _TABLES}
    found["item.projection.weight"] = torch.cat((linear["item.projection.weight"], softmax["item.projection.weight"]))
    # a part's query is asked of that part scaled to length 1: the linear model has none
    found["buyer.query"] = torch.cat((linear["buyer.query"], softmax["buyer.query"]))
    found["buyer.constant"] = torch.cat((linear["buyer.constant"] * length[0], softmax["buyer.constant"] * length[-1]))
    rows = linear["buyer.next"][0]
    blocks = [rows[at : at + size, at : at + size] for at in range(0, parts * size, size)]
    assert torch.equal(torch.block_diag(*blocks), rows), "the linear model maps no part of a vector to another"
    found["buyer.next"] = torch.cat((torch.stack(blocks), softmax["buyer.next"]))
    for name in _BY_HEAD:
        found[name] = torch.cat((linear[name].repeat_interleave(parts, dim=-1), softmax[name]), dim=-1)
    return found | _lengths(length, together)


def _lengths(length: Tensor, together: Tensor) -> Weights:
    """Of both towers alike, so that the product of two vectors of a head is its squared length times their cosine."""
    named = {"normalise.length": length, "normalise.together": together}
    # each a tensor of its own: safetensors keeps no two in one memory
    return {f"{tower}.{name}": value.clone() for tower in ("item", "buyer") for name, value in named.items()}
