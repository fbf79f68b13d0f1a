"""A blend scores as the weighted mean of its two models, and its towers are served like any other's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.trainer.fit.test_selection import BUYERS, EVENTS, SCHEMA, SPLIT, fitter, selected
from trainer.data.split import Cases
from trainer.evaluate import ranking
from trainer.fit.blend import blend, last_head
from trainer.fit.fitter import Fitter
from trainer.fit.linear.hyperparameters import LinearHyperparameters
from trainer.fit.linear.placement import Placement
from trainer.fit.linear.spectral import item_vectors
from trainer.fit.linear.trend import trends
from trainer.fit.selection import refit_model
from trainer.fit.training_set import TrainingSet
from trainer.fit.validation import CaseValues, Validation
from trainer.model.heads import Heads
from trainer.model.towers import TwoTower, load_towers
from twotower.arrays import Float32

# vectors of 12 numbers in three heads of 4: eight are the linear model's
BLENDED = ("model.dimension=12", "model.heads=3", "linear.trend_weights=[0.0, 1.0]")
DATA = TrainingSet(EVENTS, SPLIT.test_stop)


def vectors(model: TwoTower, made: Fitter, cases: Cases) -> tuple[Float32, Float32]:
    items = ranking.item_vectors(model, made.features)
    return items, ranking.buyer_vectors(model, items, EVENTS, cases, SCHEMA, 6)


def random_model(made: Fitter, *, heads: int = 0, dimension: int = 0) -> TwoTower:
    """A softmax model with random weights everywhere."""
    model = made.new_model(heads=heads, dimension=dimension)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for value in model.parameters():
            value += 0.3 * torch.randn(value.shape, generator=generator)
    return model


def test_parts_together_share_a_norm_and_have_their_length() -> None:
    normalise = Heads(3).eval()
    normalise.together.copy_(torch.block_diag(torch.ones(2, 2), torch.ones(1, 1)))
    normalise.length.copy_(torch.tensor([0.8, 0.8, 0.6]))
    # a first head of four numbers, (1, 2, 2, 4) of length 5, and one of two, (3, 4)
    found = normalise(torch.tensor([[1.0, 2.0, 2.0, 4.0, 3.0, 4.0], [0.0, 0.0, 0.0, 0.0, 0.0, 2.0]]))
    torch.testing.assert_close(
        found, torch.tensor([[0.16, 0.32, 0.32, 0.64, 0.36, 0.48], [0.0, 0.0, 0.0, 0.0, 0.0, 0.6]])
    )


def test_the_last_head_is_a_model_of_its_own() -> None:
    made = fitter(*BLENDED)
    whole = random_model(made)
    one = load_towers(last_head(whole.state_dict()), made.config.model)
    items, buyers = vectors(whole, made, SPLIT.test)
    own_items, own_buyers = vectors(one, made, SPLIT.test)
    np.testing.assert_allclose(own_items, items[:, -4:] * 3**0.5, atol=1e-6)
    np.testing.assert_allclose(own_buyers, buyers[:, -4:] * 3**0.5, atol=1e-5)


@pytest.mark.parametrize("share", [0.3, 0.65])
@pytest.mark.parametrize("half_life", [0.0, 20.0])
def test_a_blend_scores_the_mean_of_the_cosines_by_share(share: float, half_life: float) -> None:
    made = fitter(*BLENDED)
    closed = made.fit_linear(made.place(DATA).narrow(6), LinearHyperparameters(half_life, 1.0, 0.5))
    one = random_model(made, heads=1, dimension=4)
    both = load_towers(blend(closed.state_dict(), one.state_dict(), share), made.config.model)
    scores = {}
    for name, model in {"linear": closed, "softmax": one, "blend": both}.items():
        items, buyers = vectors(model, made, SPLIT.test)
        np.testing.assert_allclose(np.linalg.norm(items, axis=1), 1, atol=1e-5)
        np.testing.assert_allclose(np.linalg.norm(buyers, axis=1), 1, atol=1e-5)
        scores[name] = buyers @ items.T
    wanted = share * scores["linear"] + (1 - share) * scores["softmax"]
    assert wanted.std() > 0.1
    np.testing.assert_allclose(scores["blend"], wanted, atol=1e-5)


def test_leading_dimensions_are_those_of_a_narrower_placement() -> None:
    made = fitter(*BLENDED)
    settings, products = made.config.linear, made.sizes.products
    whole = item_vectors(DATA, products, 10, settings, 7)
    narrow = item_vectors(DATA, products, 6, settings, 7)
    trend = trends(DATA, products, 15)
    found, _, _ = Placement(whole, trend, made.features, made.neighbours).narrow(6).fit(0.0)
    wanted, _, _ = Placement(narrow, trend, made.features, made.neighbours).fit(0.0)
    # to the signs of the directions
    np.testing.assert_allclose(found @ found.T, wanted @ wanted.T, atol=1e-3)


def test_validation_may_choose_the_blend_whose_parts_are_refitted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: pytest.LogCaptureFixture
) -> None:
    made = fitter(*BLENDED, "linear.blend_weights=[0.6, 0.8]", "neighbours.weights=[]", "prior.weights=[]")
    # the linear model's, the softmax's, those of the two shares, then the mixtures': three vectors and five corners
    levels = (0.15, 0.2, 0.3, 0.25, 0.15, 0.2, 0.3, 0.0, 0.0, 0.0, 0.0, 0.0)
    values = iter([CaseValues(*[level * (1.0 + np.arange(BUYERS))] * 2) for level in levels])
    monkeypatch.setattr(Validation, "score", lambda *_: 0.5)
    monkeypatch.setattr(Validation, "values", lambda *_: next(values))
    chosen = selected(made, tmp_path)
    assert (chosen.kind, chosen.share) == ("blend", 0.6)
    assert list(chosen.facts["vectors_alone"]) == ["linear", "softmax", "blend"]
    assert chosen.facts["share"] == 0.6
    assert any("chose blend" in line for line in logged.messages)
    assert chosen.linear is not None
    weights, _, curve, _ = refit_model(made, chosen.recipe, "refit", DATA, tmp_path)
    assert len(curve) == chosen.epochs
    # a loaded model is ready for inference, without a call of eval()
    items = load_towers(weights, made.config.model).items(made.features).detach().numpy()
    closed = made.fit_linear(made.place(DATA).narrow(6), chosen.linear)
    linear_items, _ = vectors(closed, made, SPLIT.test)
    np.testing.assert_allclose(items[:, :8], linear_items * 0.6**0.5, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(items[:, 8:], axis=1), 0.4**0.5, atol=1e-6)


def test_a_blend_is_not_fitted_if_one_part_is_far_worse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: pytest.LogCaptureFixture
) -> None:
    levels = (0.1, 0.2, 0.1, 0.2, 0.0, 0.0, 0.0, 0.0, 0.0)
    values = iter([CaseValues(*[np.full(BUYERS, level)] * 2) for level in levels])
    monkeypatch.setattr(Validation, "score", lambda *_: 0.5)
    monkeypatch.setattr(Validation, "values", lambda *_: next(values))
    chosen = selected(fitter(*BLENDED), tmp_path)
    assert list(chosen.facts["vectors_alone"]) == ["linear", "softmax"]
    assert "no blend: one of its parts has 0.1000, the other 0.2000" in logged.messages


@pytest.mark.parametrize(
    "setting",
    ["linear.blend_weights=[]", "model.heads=1", "model.buyer_tower=weighted_average", "training.start=linear"],
)
def test_without_two_models_to_blend_there_is_no_such_candidate(setting: str, tmp_path: Path) -> None:
    made = fitter(*BLENDED, setting)
    chosen = selected(made, tmp_path)
    assert "blend" not in chosen.facts["candidates"]
