"""Writes the linear model into the towers."""

from __future__ import annotations

import numpy as np
import torch

from trainer.fit.linear.cold import cold_rows
from trainer.fit.linear.hyperparameters import LinearHyperparameters
from trainer.fit.linear.placement import Placement
from trainer.fit.linear.trend import tilts
from trainer.model.towers import TwoTower
from twotower.arrays import Float32


def write_linear_model(model: TwoTower, placement: Placement, choice: LinearHyperparameters) -> None:
    """Overwrites all weights of `model`, which has one head, so that items have the vectors of `placement`.

    A product's own row is what content leaves open. Products without a vector get `cold_rows`. The last number of an
    item vector is its tilt; that of a buyer vector is constant.
    """
    placed, content, tables = placement.fit(choice.trend)
    rows, is_cold = placed - content, ~placement.known
    predicted = placement.predict_cold()
    tilt = tilts(predicted.trend, choice.trend)
    # weighted_average has no weights that could remove a number from a buyer's vector
    trust = choice.trust if model.buyer.has_attention else 1.0
    rows[is_cold] = cold_rows(content[is_cold], predicted.vectors, tilt, trust)
    with torch.no_grad():
        for values in model.parameters():
            if values is not model.log_temperature:
                values.zero_()
        model.item.projection.weight.copy_(torch.from_numpy(tables.text.T))
        for embedding, table in (
            (model.item.brand, tables.brand),
            (model.item.category, tables.category),
            (model.item.attribute, tables.attribute),
        ):
            if embedding.num_embeddings > 1:
                embedding.weight[: len(table)] = torch.from_numpy(table)
        _write_rows(model, rows)
        _write_buyer(model, choice)


def _write_rows(model: TwoTower, rows: Float32) -> None:
    if model.item.product.num_embeddings > 1:
        model.item.product.weight[1:] = torch.from_numpy(rows)


def _write_buyer(model: TwoTower, choice: LinearHyperparameters) -> None:
    """Makes the buyer tower the decayed mean of a history, plus the constant that meets the tilts."""
    model.buyer.decay.fill_(np.log(2) / choice.half_life_days if choice.half_life_days else 0.0)
    if model.buyer.has_attention:
        model.buyer.constant[-1] = float(choice.trend > 0)
        # a history of cold products leaves nothing in the last number but one
        model.buyer.next[0, -2, -2] = -1
