"""Places products that a trained model does not know, as its training would have placed a cold product.

Services know a product's content, and its row in the item tower holds the rest. A new product gets a row from its text
neighbours (as `served_weights.serve_softmax` and `linear.cold.cold_rows` give one in training).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from trainer.fit.linear.cold import ColdStart, cold_rows
from trainer.fit.linear.hyperparameters import LinearHyperparameters
from trainer.fit.linear.trend import BIASES, tilts, trends_from_tilts
from trainer.fit.normalise import normalise_rows
from trainer.fit.text_neighbours import NEIGHBOUR_RIDGE, NEIGHBOUR_WEIGHT, TextNeighbours
from trainer.model.inputs import ItemFeatures
from trainer.model.towers import TwoTower
from twotower.arrays import Float32, Int64, Mask


class LinearPart(NamedTuple):
    """The linear part of a model: `width` leading numbers of each vector, and what placed its cold products."""

    width: int
    choice: LinearHyperparameters
    cold_start: ColdStart


def linear_part(model: TwoTower, training: Mapping[str, Any]) -> LinearPart | None:
    """The linear part of a model, from the record of its training in metrics.json; None for a softmax."""
    if training["vectors"] == "softmax":
        return None
    dimension, heads = model.item.projection.out_features, model.item.normalise.count
    width = dimension if training["vectors"] == "linear" else dimension - dimension // heads
    return LinearPart(width, LinearHyperparameters(**training["linear"]), ColdStart(**training["cold_start"]))


def product_rows(
    model: TwoTower,
    linear: LinearPart | None,
    known: Int64,
    is_trained: Mask,
    features: ItemFeatures,
    neighbours: TextNeighbours,
) -> Tensor:
    """The item tower's product rows [N + 1, D] for today's catalogue [N]; row 0 is the unknown product's.

    `known` [N] is a product's row in the model's own catalogue, -1 if it is new. New products get rows from their text
    neighbours among the known products that buyers took (`is_trained` [N]).
    """
    before = model.item.product.weight.detach()
    if len(before) == 1:  # the model has no product vectors
        return before.clone()
    rows = torch.zeros(len(known) + 1, before.shape[1])
    kept, new = np.flatnonzero(known >= 0), np.flatnonzero(known < 0)
    rows[1 + torch.from_numpy(kept)] = before[1 + torch.from_numpy(known[kept])]
    references = np.flatnonzero(is_trained & (known >= 0))
    sums = neighbours.weights(new, references, NEIGHBOUR_RIDGE) @ rows[1:].numpy()  # [new, D]
    new_rows: Float32 = NEIGHBOUR_WEIGHT * sums
    if linear:
        content = _content(model, features, torch.from_numpy(new))[:, : linear.width]
        nearest = neighbours.weights(new, references, linear.cold_start.neighbour_ridge)
        predicted = content + nearest @ rows[1:, : linear.width].numpy()
        new_rows[:, : linear.width] = _linear_rows(content, predicted, linear, model.buyer.has_attention)
    rows[1 + torch.from_numpy(new)] = torch.from_numpy(new_rows)
    return rows


def _content(model: TwoTower, features: ItemFeatures, products: Tensor) -> Float32:
    """What content adds to the vectors of some products [C, D]."""
    with torch.no_grad():
        content: Float32 = model.item.content(
            features.text[products], features.brand[products], features.category[products]
        ).numpy()
    return content


def _linear_rows(content: Float32, predicted: Float32, linear: LinearPart, attention: bool) -> Float32:
    """Rows [C, W] of new products in the linear part, from the vectors that content and neighbours predict."""
    choice = linear.choice
    trend = linear.cold_start.correct_trend(trends_from_tilts(predicted[:, -1], choice.trend))
    vectors = normalise_rows(predicted[:, :-BIASES])
    # weighted_average has no weights that could remove a number from a buyer's vector
    return cold_rows(content, vectors, tilts(trend, choice.trend), choice.trust if attention else 1.0)
