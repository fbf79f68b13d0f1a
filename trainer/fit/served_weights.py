"""The form of a model's weights that services use: a product's row holds all but text, brand and category.

Services give the item tower no attributes, so the mean vector of a product's attributes is added to its row. A cold
product's row is made from those of its text neighbours.
"""

from __future__ import annotations

import numpy as np
import torch

from trainer.fit.text_neighbours import NEIGHBOUR_RIDGE, NEIGHBOUR_WEIGHT, TextNeighbours
from trainer.model.inputs import ItemFeatures
from trainer.model.towers import Weights, attribute_means
from twotower.arrays import Mask

_ROWS, _ATTRIBUTES = "item.product.weight", "item.attribute.weight"
# cold products whose rows are computed at once
_BLOCK = 16_384


def serve_linear(weights: Weights, features: ItemFeatures) -> Weights:
    """The linear model's weights as services use them: it has placed its cold products already."""
    return fold_attributes(weights, features)


def serve_softmax(weights: Weights, features: ItemFeatures, is_trained: Mask, neighbours: TextNeighbours) -> Weights:
    """The softmax's weights as services use them.

    The row of a product that is not `is_trained` [N] becomes 0.5 x the weighted sum of the rows of its text neighbours
    among the trained ones, plus its attributes.
    """
    served = _fold(reset_untrained_rows(weights, is_trained), features)
    rows, cold = weights[_ROWS][1:].cpu(), np.flatnonzero(~is_trained)
    if len(rows) and len(cold):
        nearest = neighbours.weights(cold, np.flatnonzero(is_trained), NEIGHBOUR_RIDGE)
        for start in range(0, len(cold), _BLOCK):
            some = slice(start, start + _BLOCK)
            sums = NEIGHBOUR_WEIGHT * torch.from_numpy(nearest[some] @ rows.numpy())
            served[_ROWS][1 + torch.from_numpy(cold[some])] += sums.to(served[_ROWS].device)
    return served


def reset_untrained_rows(weights: Weights, is_trained: Mask) -> Weights:
    """Gives products that are not `is_trained` [N] the unknown product's row.

    Their own rows carry no information: they are as they were drawn, or as training on negatives left them.
    """
    rows = weights[_ROWS].clone()
    if len(rows) > 1:  # a model without product vectors has the unknown product's row alone
        rows[1:][torch.from_numpy(~is_trained).to(rows.device)] = rows[0]
    return weights | {_ROWS: rows}


def fold_attributes(weights: Weights, features: ItemFeatures) -> Weights:
    """Adds the mean vector of each product's attributes to its row, and clears the attributes."""
    return _fold(weights | {_ROWS: weights[_ROWS].clone()}, features)


def _fold(weights: Weights, features: ItemFeatures) -> Weights:
    """`fold_attributes` that changes the rows in place: those of a large catalogue take as much as the model."""
    rows, table = weights[_ROWS], weights[_ATTRIBUTES]
    if len(rows) > 1 and len(table) > 1 and features.attributes.shape[1]:
        rows[1:] += attribute_means(table, features.attributes.to(rows.device))
    return weights | {_ATTRIBUTES: torch.zeros_like(table)}
