"""Model selection: validation decides, settings are obeyed, and a model that cannot be fitted is logged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.trainer.fit.linear.test_placement import neighbours_of
from trainer.config.loading import load_config
from trainer.data.events import Events, tie_hash
from trainer.data.split import Cases, leave_last_out
from trainer.evaluate import ranking
from trainer.fit import selection
from trainer.fit.fitter import Fitter
from trainer.fit.selection import KINDS, SelectedModel, best_kind, refit_model, select_model
from trainer.fit.served_weights import fold_attributes, reset_untrained_rows, serve_linear, serve_softmax
from trainer.fit.text_neighbours import NEIGHBOUR_RIDGE
from trainer.fit.training_set import TrainingSet
from trainer.fit.validation import CaseValues, Validation
from trainer.model.inputs import ItemFeatures, Sizes
from trainer.model.towers import Weights, load_towers
from twotower.events import DAY_MS, EventSchema

PRODUCTS, BUYERS, LENGTH, TEXT = 24, 60, 8, 6


def shop() -> Events:
    """Each buyer takes products of one third of the catalogue, in any order."""
    draw = np.random.default_rng(4)
    product = np.concatenate(
        [draw.permutation(PRODUCTS // 3)[:LENGTH] + PRODUCTS // 3 * (one % 3) for one in range(BUYERS)]
    )
    moment = draw.integers(50, size=BUYERS)[:, None] + np.arange(LENGTH)
    return Events(
        np.repeat(np.arange(BUYERS), LENGTH).astype(np.int32),
        product.astype(np.int32),
        np.full(BUYERS * LENGTH, 3, np.int8),
        (moment * DAY_MS).ravel().astype(np.int64),
        np.arange(0, BUYERS * LENGTH + 1, LENGTH),
    )


EVENTS = shop()
SPLIT = leave_last_out(EVENTS, "")
DATA = TrainingSet(EVENTS, SPLIT.train_stop)
SCHEMA = EventSchema({"View": 1.0, "AddToCart": 5.0, "Purchase": 10.0})


def fitter(*assignments: str) -> Fitter:
    config = load_config(
        [],
        [
            "device=cpu",
            "model.dimension=8",
            "model.max_history=6",
            "training.batch_pairs=64",
            "training.random_negatives=8",
            "training.warmup_steps=0",
            "training.learning_rate=0.02",
            "training.max_epochs=2",
            "training.min_steps=1",
            "linear.l2=2",
            "evaluation.exclude_seen=true",
            "training.repeat_targets=false",
            *assignments,
        ],
    )
    zero = torch.zeros(PRODUCTS, dtype=torch.int64)
    features = ItemFeatures(
        torch.randn(PRODUCTS, TEXT, generator=torch.Generator().manual_seed(0)),
        zero,
        zero,
        torch.arange(1, PRODUCTS + 1),
        zero[:, None][:, :0],
    )
    sizes = Sizes(TEXT, 0, 0, PRODUCTS, 0, 3)
    return Fitter(config, sizes, features, None, neighbours_of(features, 7), SCHEMA, torch.device("cpu"), "print")


def validation(made: Fitter, events: Events = EVENTS, cases: Cases = SPLIT.validation) -> Validation:
    ties = tie_hash([str(one) for one in range(PRODUCTS)], 7)
    return Validation(made.config, made.features, SCHEMA, ties, events, cases)


def selected(made: Fitter, folder: Path) -> SelectedModel:
    return select_model(made, DATA, validation(made), folder)


@pytest.mark.parametrize("tower", ["attention", "weighted_average"])
def test_validation_chooses(tower: str, tmp_path: Path, logged: pytest.LogCaptureFixture) -> None:
    made = fitter(f"model.buyer_tower={tower}")
    chosen = selected(made, tmp_path)
    scores = chosen.facts["candidates"]
    assert set(scores) == set(KINDS) - {"blend", "bought_before"}
    (verdict,) = (line for line in logged.messages if line.startswith("chose "))
    assert verdict.startswith(f"chose {chosen.kind}: {scores[chosen.kind]:.4f}")
    assert f"{max(scores.values()):.4f}" in verdict
    # eight products could come next, and the history holds six of them
    assert scores["linear"] > 0.5


@pytest.mark.parametrize(
    ("gains", "kind"),
    # means of .1 with errors of .1 and .13, .15 with .05, and -.15
    [([0.0, 0.2], "linear"), ([0.0, 0.1, 0.2, 0.5, -0.3], "linear"), ([0.1, 0.2], "softmax"), ([-0.1, -0.2], "linear")],
)
def test_the_simplest_kind_is_chosen_unless_another_gains_more_than_a_standard_error(
    gains: list[float], kind: str
) -> None:
    linear = np.full(len(gains), 0.5)
    values = {"softmax": linear + np.array(gains), "linear": linear, "transitions": linear - 0.2}
    assert best_kind({name: CaseValues(metric, linear) for name, metric in values.items()}) == kind


def test_a_simpler_kind_with_clearly_less_recall_at_100_is_not_chosen() -> None:
    level = np.array([0.1, 0.3, 0.2])
    values = {"softmax": CaseValues(level, level), "linear": CaseValues(level, level - 0.05)}
    assert best_kind(values) == "softmax"


def test_popularity_is_chosen_if_nothing_beats_it() -> None:
    level = np.array([0.1, 0.3, 0.2])
    values = {"softmax": level, "popularity": level, "linear": level - 0.05, "item_knn": level}
    assert best_kind({name: CaseValues(metric, level) for name, metric in values.items()}) == "popularity"


def test_vectors_that_validate_better_by_far_are_chosen(tmp_path: Path) -> None:
    made = fitter("training.learning_rate=1e-9")
    chosen = selected(made, tmp_path)
    assert chosen.vectors == "linear"
    assert chosen.linear is not None and chosen.facts["linear"] == chosen.linear._asdict()
    refitted = refit_model(made, chosen.recipe, "refit", DATA, tmp_path)
    assert refitted.curve == []
    assert refitted.terms.fusion == chosen.terms.fusion
    assert all(torch.equal(refitted.weights[name], value) for name, value in chosen.weights.items())


def test_one_kind_alone_is_fitted_if_the_settings_say_so(tmp_path: Path) -> None:
    made = fitter("training.start=linear")
    chosen = selected(made, tmp_path)
    assert (chosen.kind, chosen.epochs, chosen.facts["curve"]) == ("linear", 0, [])
    made = fitter("training.start=softmax")
    chosen = selected(made, tmp_path)
    assert (chosen.kind, chosen.linear) == ("softmax", None)
    assert 1 <= chosen.epochs == chosen.facts["best_epoch"] <= 2


def test_a_log_too_large_for_the_linear_model_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(selection, "MOST_PAIRS", 10)
    made = fitter()
    chosen = selected(made, tmp_path)
    assert chosen.vectors == "softmax"
    assert any(line.startswith("no linear model") and "limit is 10" in line for line in logged.messages)


def test_without_validation_buyers_the_softmax_is_trained_for_all_epochs(tmp_path: Path) -> None:
    made = fitter()
    nobody = Cases(*(column[:0] for column in SPLIT.validation))
    chosen = select_model(made, DATA, validation(made, cases=nobody), tmp_path)
    assert (chosen.kind, chosen.facts["candidates"], len(chosen.facts["curve"])) == ("softmax", {}, 2)


def test_an_untrained_product_gets_half_of_its_text_neighbours_rows() -> None:
    made = fitter()
    trained = np.ones(PRODUCTS, bool)
    trained[[3, 17]] = False
    weights = made.new_model().state_dict()
    rows = weights["item.product.weight"].clone()
    found = serve_softmax(weights, made.features, trained, made.neighbours)["item.product.weight"]
    text = made.features.text / made.features.text.norm(dim=1, keepdim=True)
    for new in (3, 17):
        # all 22 are among the thirty nearest
        among = text[trained] @ text[trained].T + NEIGHBOUR_RIDGE * torch.eye(PRODUCTS - 2)
        wanted = 0.5 * torch.linalg.solve(among, text[trained] @ text[new]) @ rows[1:][trained]
        torch.testing.assert_close(found[1 + new], wanted, atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(found[1:][trained], rows[1:][trained])
    torch.testing.assert_close(weights["item.product.weight"], rows)  # the given weights are left as they were


def test_the_softmax_is_validated_as_it_will_be_served(tmp_path: Path) -> None:
    # the buyers' last product but one is the new one, 23, whose text is that of 16
    product = EVENTS.product % (PRODUCTS - 1)
    product[EVENTS.start[:-1] + LENGTH - 2] = PRODUCTS - 1
    events = EVENTS._replace(product=product)
    split = leave_last_out(events, "")
    made = fitter("training.start=softmax", "training.max_epochs=1", "neighbours.weights=[]", "prior.weights=[]")
    made.features.text[PRODUCTS - 1] = made.features.text[16]
    made = replace(made, neighbours=neighbours_of(made.features, 7))
    data, measured = TrainingSet(events, split.train_stop), validation(made, events, split.validation)
    chosen = select_model(made, data, measured, tmp_path)

    def ndcg(weights: Weights) -> float:
        model = load_towers(weights, made.config.model)
        scorer = ranking.model_scorer(model, made.features, events, SCHEMA, 6)
        ranks = ranking.rank_targets(scorer, events, split.validation, measured.ties, True, lists=False)
        return float(ranking.case_metrics(ranks)["ndcg@10"].mean())

    served = ndcg(serve_softmax(chosen.weights, made.features, data.trained_products(PRODUCTS), made.neighbours))
    assert chosen.facts["candidates"]["softmax"] == pytest.approx(served)
    # the new product placed by its text alone, as it was trained, gives another figure
    reset = reset_untrained_rows(chosen.weights, np.arange(PRODUCTS) < PRODUCTS - 1)
    alone = ndcg(fold_attributes(reset, made.features))
    assert abs(alone - served) > 0.01


def test_the_linear_model_has_placed_untrained_products_itself() -> None:
    made = fitter()
    weights = made.new_model(heads=1).state_dict()
    found = serve_linear(weights, made.features)
    torch.testing.assert_close(found["item.product.weight"], weights["item.product.weight"])
