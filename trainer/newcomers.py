"""Where a trained model puts products that it was not trained with.

What services know of a product beyond its content is in its own row of the item tower. One that came later gets a row
made of those that read alike, as an untrained one does in training (`candidates.Fitter.served`, `linear.fill`).
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer import linear
from trainer.alike import PART, SHARPNESS, alike
from trainer.model import ItemFeatures, TwoTower

Int64 = NDArray[np.int64]


def product_rows(
    model: TwoTower, kind: str, trust: float, known: Int64, trained: NDArray[np.bool_], features: ItemFeatures,
    seed: int,
) -> Tensor:  # fmt: skip
    """The item tower's table of products [N + 1, D] for a catalogue [N] of which the model knows a part.

    `known` [N] is a product's row in the model's own catalogue, -1 where it is not in there; `trained` [N] are those
    that buyers took, which tell of the others. `kind` and `trust` are how the model was fitted: see `candidates`.
    """
    before = model.item.product.weight.detach()
    if len(before) == 1:  # products have no rows: content is all there is
        return before.clone()
    rows = torch.zeros(len(known) + 1, before.shape[1])
    here, new = np.flatnonzero(known >= 0), np.flatnonzero(known < 0)
    rows[1 + torch.from_numpy(here)] = before[1 + torch.from_numpy(known[here])]
    text = linear.unit(features.text.numpy())
    near = alike(text, new, np.flatnonzero(trained & (known >= 0)), [SHARPNESS], seed)[0]
    told = torch.from_numpy(near @ rows[1:].numpy())  # [new, D]
    own = PART * told
    width = _linear_width(model, kind)
    if width:
        asked = torch.from_numpy(new)
        with torch.no_grad():
            content = model.item.content(features.text[asked], features.brand[asked], features.category[asked])
        leading = content[:, :width].numpy()
        whole = leading + told[:, :width].numpy()
        vectors = linear.unit(whole[:, : -linear.BIASES])
        last = np.clip(whole[:, -1], -linear.STEEPEST, linear.STEEPEST)
        own[:, :width] = torch.from_numpy(
            linear.beside(leading, vectors, last, trust if model.buyer.attention else 1.0)
        )
    rows[1 + torch.from_numpy(new)] = own
    return rows


def _linear_width(model: TwoTower, kind: str) -> int:
    """How many of a vector's numbers, from the first, are a linear model's."""
    dimension, heads = model.item.projection.out_features, model.item.normalise.count
    return {"softmax": 0, "linear": dimension, "blend": dimension - dimension // heads}[kind]
