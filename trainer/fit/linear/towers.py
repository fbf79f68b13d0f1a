"""Chooses the linear model's hyperparameters and writes it into the towers."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from trainer.config.schema import Linear
from trainer.fit.linear.placement import Placement
from trainer.fit.linear.trend import tilts
from trainer.model.towers import TwoTower
from twotower.arrays import Float32


class Choice(NamedTuple):
    """What validation chose: how fast a history fades (days, 0 = never), what lately popular products gain, and the
    cosines of a product of which only content is known, beside what they would be if content told all."""

    half_life_days: float
    trend: float
    trust: float


def choose(config: Linear, score: Callable[[Choice], float]) -> tuple[Choice, float]:
    """The choice of the best `score`: the fading first, then the trend, then the trust. Of equal ones the plainer is
    taken, which is the first."""
    first = config.cold_lengths[0]
    fading = max(config.half_lives_days, key=lambda days: score(Choice(days, 0.0, first)))
    trend = max(config.trend_weights, key=lambda strength: score(Choice(fading, strength, first)))
    trust = max(config.cold_lengths, key=lambda part: score(Choice(fading, trend, part)))
    best = Choice(fading, trend, trust)
    return best, score(best)


def fill(model: TwoTower, placement: Placement, choice: Choice) -> None:
    """Makes `model`, of one head, the linear one: items stand where `placement` has them.

    A product's own row is what content leaves open. A product without a vector stands where it is guessed to, at part
    of a vector's length: the rest goes into the last number but one, which buyers do not have. Were it not for that,
    the new products that happen to stand near a buyer would crowd out what sells. The last number is a product's trend,
    a new one's is guessed; a buyer's is constant.
    """
    placed, content, tables = placement.fit(choice.trend)
    own, known = placed - content, placement.known
    # a plain average has no way to leave a number out of a buyer's vector
    trust = choice.trust if model.buyer.attention else 1.0
    guess = placement.guess()
    own[~known] = beside(content[~known], guess.vectors, tilts(guess.trend, choice.trend), trust)
    with torch.no_grad():
        for values in model.parameters():
            if values is not model.log_temperature:
                values.zero_()
        model.item.projection.weight.copy_(torch.from_numpy(tables.text.T))
        for name in ("brand", "category", "attribute"):
            rows, table = getattr(model.item, name).weight, getattr(tables, name)
            if len(rows) > 1:
                rows[: len(table)] = torch.from_numpy(table)
        if len(model.item.product.weight) > 1:
            model.item.product.weight[1:] = torch.from_numpy(own)
        if choice.half_life_days:
            model.buyer.decay.fill_(np.log(2) / choice.half_life_days)
        else:
            model.buyer.decay.zero_()
        if model.buyer.attention:
            model.buyer.constant[-1] = float(choice.trend > 0)
            model.buyer.next[0, -2, -2] = -1  # nor do buyers of new products


def beside(content: Float32, vectors: Float32, last: Float32, trust: float) -> Float32:
    """What new products' own rows add to their `content` [C, D + 2]: the sum has the guessed direction `vectors` [C, D]
    at the length `trust`, the guessed tilt `last` [C], and the length 1. A product of which nothing is told adds
    nothing."""
    across = np.sqrt(1 - last**2)
    whole = np.column_stack((vectors * (trust * across)[:, None], across * np.sqrt(1 - trust**2), last))
    own: Float32 = ((whole - content) * vectors.any(axis=1, keepdims=True)).astype(np.float32)
    return own
