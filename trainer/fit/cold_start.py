"""Where a trained model puts products that it was not trained with.

What services know of a product beyond its content is in its own row of the item tower. One that came later gets a row
made of those that read alike, as an untrained one does in training (`candidates.Fitter.served`, `linear.fill`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.config.schema import Config
from trainer.fit.linear import placement as linear
from trainer.fit.linear.spectral import unit
from trainer.fit.linear.towers import Choice, beside
from trainer.fit.linear.trend import BIASES, tilts, trends_of
from trainer.fit.text_neighbors import PART, SHARPNESS, alike
from trainer.model.inputs import ItemFeatures, Sizes
from trainer.model.towers import TwoTower
from twotower.arrays import Float32, Int64


class Fitting(NamedTuple):
    """How a model was fitted: which kind it is, and what was chosen and told for its linear part, if it has one."""

    kind: str
    choice: Choice | None
    told: linear.Told | None

    @classmethod
    def read(cls, training: Mapping[str, Any]) -> Fitting:
        """From what a training recorded of itself in metrics.json."""
        if training["kind"] == "softmax":
            return cls("softmax", None, None)
        return cls(training["kind"], Choice(**training["linear"]), linear.Told(**training["told"]))


def product_rows(
    model: TwoTower, fitting: Fitting, known: Int64, trained: NDArray[np.bool_], features: ItemFeatures, seed: int
) -> Tensor:
    """The item tower's table of products [N + 1, D] for a catalogue [N] of which the model knows a part.

    `known` [N] is a product's row in the model's own catalogue, -1 where it is not in there; `trained` [N] are those
    that buyers took, which tell of the others.
    """
    before = model.item.product.weight.detach()
    if len(before) == 1:  # products have no rows: content is all there is
        return before.clone()
    rows = torch.zeros(len(known) + 1, before.shape[1])
    here, new = np.flatnonzero(known >= 0), np.flatnonzero(known < 0)
    rows[1 + torch.from_numpy(here)] = before[1 + torch.from_numpy(known[here])]
    sharpnesses = [SHARPNESS, fitting.told.sharpness if fitting.told else SHARPNESS]
    text, tell = unit(features.text.numpy()), np.flatnonzero(trained & (known >= 0))
    means, sharper = (near @ rows[1:].numpy() for near in alike(text, new, tell, sharpnesses, seed))  # [new, D]
    own: Float32 = PART * means
    width = _linear_width(model, fitting.kind)
    if fitting.choice and fitting.told:
        asked = torch.from_numpy(new)
        with torch.no_grad():
            content = model.item.content(features.text[asked], features.brand[asked], features.category[asked])
        leading = content[:, :width].numpy()
        whole = leading + sharper[:, :width]
        own[:, :width] = _beside(leading, whole, fitting.choice, fitting.told, model.buyer.attention)
    rows[1 + torch.from_numpy(new)] = torch.from_numpy(own)
    return rows


def _beside(content: Float32, whole: Float32, choice: Choice, told: linear.Told, attention: bool) -> Float32:
    """The own rows of new products [C, W] of the linear model: `whole` is where all that tells of them puts them."""
    trend = told.trend(trends_of(whole[:, -1], choice.trend))
    vectors = unit(whole[:, :-BIASES])
    # a plain average has no way to leave a number out of a buyer's vector
    return beside(content, vectors, tilts(trend, choice.trend), choice.trust if attention else 1.0)


def _linear_width(model: TwoTower, kind: str) -> int:
    """How many of a vector's numbers, from the first, are a linear model's."""
    dimension, heads = model.item.projection.out_features, model.item.normalise.count
    return {"softmax": 0, "linear": dimension, "blend": dimension - dimension // heads}[kind]


def load_towers(weights: Mapping[str, torch.Tensor], config: Config, kind: str) -> TwoTower:
    rows = {name: len(weights[f"item.{name}.weight"]) - 1 for name in ("brand", "category", "product", "attribute")}
    sizes = Sizes(
        weights["item.projection.weight"].shape[1], rows["brand"], rows["category"], rows["product"],
        rows["attribute"], len(config.data.event_weights),
    )  # fmt: skip
    model = TwoTower(sizes, config.model, config.training.temperature, 1 if kind == "linear" else 0)
    model.load_state_dict(weights)
    return model.eval()
