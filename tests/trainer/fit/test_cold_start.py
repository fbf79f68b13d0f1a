"""Products that the model does not know get rows from their text neighbours, as training gives them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.trainer.fit.linear.test_placement import families, neighbours_of
from trainer.config.loading import load_config
from trainer.fit.cold_start import linear_part, product_rows
from trainer.fit.linear.hyperparameters import LinearHyperparameters
from trainer.fit.linear.placement import Placement
from trainer.fit.linear.towers import write_linear_model
from trainer.fit.linear.trend import BIASES
from trainer.fit.text_neighbours import NEIGHBOUR_RIDGE, NEIGHBOUR_WEIGHT
from trainer.model.inputs import ItemFeatures, Sizes
from trainer.model.towers import TwoTower


def features_of(*texts: list[float]) -> ItemFeatures:
    zero = torch.zeros(len(texts), dtype=torch.int64)
    return ItemFeatures(torch.tensor(texts), zero, zero, torch.arange(1, len(texts) + 1), zero[:, None][:, :0])


def model_of(products: int, *assignments: str) -> TwoTower:
    config = load_config([], ["model.dimension=8", "model.heads=1", *assignments])
    torch.manual_seed(2)
    return TwoTower(Sizes(2, 0, 0, products, 0, 3), config.model, 0.07).eval()


def test_known_products_keep_their_rows_and_new_ones_get_half_of_their_text_neighbours() -> None:
    model = model_of(3)
    table = model.item.product.weight.detach()
    # today: the third, a new one that reads like it, the first, one without any text; the second is gone
    features = features_of([1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 0.0])
    known, trained = np.array([2, -1, 0, -1]), np.array([True, True, True, True])
    rows = product_rows(model, None, known, trained, features, neighbours_of(features))
    assert rows.shape == (5, 8) and not rows[0].any()
    assert torch.equal(rows[1], table[3]) and torch.equal(rows[3], table[1])
    # cosines of 1 and 0 with two that share nothing: 1 / (1 + ridge) and 0
    np.testing.assert_allclose(rows[2], NEIGHBOUR_WEIGHT / (1 + NEIGHBOUR_RIDGE) * table[3], atol=1e-6)
    assert not rows[4].any()


def test_only_products_that_buyers_took_are_neighbours() -> None:
    model, share = model_of(2), NEIGHBOUR_WEIGHT * 0.8 / (1 + NEIGHBOUR_RIDGE)
    features = features_of([1.0, 0.0], [0.0, 1.0], [0.6, 0.8])
    rows = product_rows(
        model, None, np.array([0, 1, -1]), np.array([False, True, False]), features, neighbours_of(features)
    )
    np.testing.assert_allclose(rows[3], share * model.item.product.weight[2].detach(), atol=1e-6)
    nobody = product_rows(model, None, np.array([0, 1, -1]), np.zeros(3, np.bool_), features, neighbours_of(features))
    assert not nobody[3].any()


def test_a_model_without_rows_of_products_needs_none() -> None:
    model = model_of(2, "model.product_embedding=false", "model.attribute_embedding=false")
    features = features_of([1.0, 0.0], [0.0, 1.0])
    rows = product_rows(model, None, np.array([0, -1]), np.ones(2, np.bool_), features, neighbours_of(features))
    assert rows.shape == (1, 8)


@pytest.mark.parametrize("tower", ["attention", "weighted_average"])
def test_the_linear_model_places_new_products_as_its_training_would(tower: str) -> None:
    features, vectors, trend, new = families()
    choice = LinearHyperparameters(0.0, 1.0, 0.65)
    known = vectors.copy()
    known[new] = 0
    width = vectors.shape[1] + BIASES
    config = load_config([], [f"model.dimension={width}", "model.heads=1", f"model.buyer_tower={tower}"])
    model = TwoTower(Sizes(features.text.shape[1], 0, 0, len(known), 0, 3), config.model, 0.07, heads=1).eval()
    placement = Placement(known, trend, features, neighbours_of(features))
    write_linear_model(model, placement, choice)
    today = np.arange(len(known))
    today[new] = -1
    record = {"vectors": "linear", "linear": choice._asdict(), "cold_start": placement.cold_start._asdict()}
    rows = product_rows(model, linear_part(model, record), today, today >= 0, features, neighbours_of(features))
    wanted = model.item.product.weight.detach()
    assert torch.equal(rows[1:][today >= 0], wanted[1:][today >= 0])
    # the tilt of a vector shortens the rest of it, which the mean of several does not undo to the last digit
    np.testing.assert_allclose(rows[1:][new], wanted[1:][new], atol=0.01)
    assert float(wanted[1:][new].abs().max()) > 0.3
