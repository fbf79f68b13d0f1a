"""The training loop on a toy shop: it learns the pattern, stops early, and resumes to the same bits."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trainer.config.loading import load_config
from trainer.config.schema import Config
from trainer.data.events import Events
from trainer.data.split import Split, leave_last_out
from trainer.errors import DataError
from trainer.evaluate.ranking import metrics, model_scorer, rank_targets
from trainer.fit.softmax.checkpoint import Checkpoints
from trainer.fit.softmax.loss import category_alignment
from trainer.fit.softmax.sampler import Sampler, SamplerSettings
from trainer.fit.softmax.step_loss import TrainingInputs, step_loss
from trainer.fit.softmax.training import Curve, FittedSoftmax, fit_softmax, learning_rate, pick_device, planned_epochs
from trainer.fit.training_set import TrainingSet
from trainer.model.inputs import ItemFeatures, Sizes
from trainer.model.towers import TwoTower
from twotower.arrays import Int64
from twotower.events import DAY_MS, EventSchema

PRODUCTS, BUYERS, LENGTH, TEXT = 24, 60, 8, 6


WEIGHTS = np.array([0.0, 1.0, 5.0, 10.0], np.float32)


SCHEMA = EventSchema({"View": 1.0, "AddToCart": 5.0, "Purchase": 10.0})


def config(*assignments: str) -> Config:
    return load_config(
        [],
        [
            "device=cpu",
            "model.dimension=8",
            "model.max_history=4",
            "training.batch_pairs=32",
            "training.random_negatives=8",
            "training.warmup_steps=0",
            "training.learning_rate=0.02",
            "training.max_epochs=6",
            "training.patience=6",
            "training.checkpoint_steps=2",
            "training.min_steps=1",
            "training.full_softmax=0",
            *assignments,
        ],
    )


def shop() -> Events:
    """Who takes product p takes p + 3 next: the texts, which are random, say nothing of it."""
    draw = np.random.default_rng(4)
    first = draw.integers(PRODUCTS, size=BUYERS)
    product = (first[:, None] + 3 * np.arange(LENGTH)) % PRODUCTS
    moment = (draw.integers(50, size=BUYERS)[:, None] + np.arange(LENGTH)) * DAY_MS
    return Events(
        np.repeat(np.arange(BUYERS), LENGTH).astype(np.int32),
        product.ravel().astype(np.int32),
        np.ones(BUYERS * LENGTH, np.int8),
        moment.ravel(),
        np.arange(0, BUYERS * LENGTH + 1, LENGTH),
    )


EVENTS = shop()


SPLIT: Split = leave_last_out(EVENTS, "")


FEATURES = ItemFeatures(
    torch.randn(PRODUCTS, TEXT, generator=torch.Generator().manual_seed(0)),
    torch.arange(PRODUCTS) % 3,
    torch.arange(PRODUCTS) % 4,
    torch.arange(1, PRODUCTS + 1),
    torch.arange(PRODUCTS)[:, None] % 3,
)


TIES = np.random.default_rng(0).permutation(PRODUCTS).astype(np.uint64)


def sampler(chosen: Config, stop: Int64 = SPLIT.train_stop) -> Sampler:
    settings = SamplerSettings(
        max_history=4,
        batch_pairs=chosen.training.batch_pairs,
        random_negatives=chosen.training.random_negatives,
        full_softmax=chosen.training.full_softmax,
        weight_power=0.5,
        repeat_targets=False,
        seed=chosen.seed,
    )
    return Sampler(TrainingSet(EVENTS, stop), PRODUCTS, WEIGHTS, settings)


def inputs_of(chosen: Config, features: ItemFeatures = FEATURES) -> TrainingInputs:
    return TrainingInputs(features, sampler(chosen), chosen)


def model(chosen: Config, seed: int = 0) -> TwoTower:
    torch.manual_seed(seed)
    return TwoTower(Sizes(TEXT, 2, 3, PRODUCTS, 2, 3), chosen.model, chosen.training.temperature)


def validation(one: TwoTower) -> float:
    scorer = model_scorer(one, FEATURES, EVENTS, SCHEMA, 4)
    return metrics(rank_targets(scorer, EVENTS, SPLIT.validation, TIES, True), PRODUCTS)["ndcg@10"]


def fitted(
    folder: Path,
    chosen: Config,
    *,
    epochs: int = 6,
    seed: int = 0,
    validate: Callable[[TwoTower], float] | None = validation,
) -> FittedSoftmax:
    return fit_softmax(model(chosen, seed), inputs_of(chosen), folder, "f", epochs=epochs, validate=validate)


@pytest.fixture(scope="module")
def two_epochs(tmp_path_factory: pytest.TempPathFactory) -> FittedSoftmax:
    """A training of two epochs that nothing interrupts."""
    return fitted(tmp_path_factory.mktemp("whole"), config(), epochs=2)


def test_the_loss_falls_and_what_comes_next_is_learned(tmp_path: Path) -> None:
    chosen = config()
    before = validation(model(chosen))
    found = fitted(tmp_path, chosen)
    losses = [record["loss"] for record in found.curve]
    assert losses[-1] < 0.8 * losses[0]
    after = model(chosen)
    after.load_state_dict(found.weights)
    # chance is about 0.2 here, and the texts know nothing
    assert before < 0.45 < 0.7 < validation(after)
    assert found.best_epoch == 1 + int(np.argmax([record["validation"] for record in found.curve]))
    assert [record["epoch"] for record in found.curve] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    "setting",
    [
        "model.buyer_tower=weighted_average",
        "training.logq_strength=0",
        "model.dropout=0.3",
        "training.full_softmax=99",
        "model.heads=2",
    ],
)
def test_other_settings_learn_too(tmp_path: Path, setting: str) -> None:
    found = fitted(tmp_path, config(setting), epochs=3)
    assert found.curve[-1]["loss"] < found.curve[0]["loss"]


def test_the_best_epoch_is_kept_and_training_stops_after_patience(tmp_path: Path) -> None:
    scores = iter([0.1, 0.3, 0.2, 0.3, 0.9])
    kept: list[dict[str, torch.Tensor]] = []

    def validate(one: TwoTower) -> float:
        kept.append({name: value.clone() for name, value in one.state_dict().items()})
        return next(scores)

    found = fitted(tmp_path, config("training.patience=2"), validate=validate)
    # epoch 4 is no better than epoch 2, so training ends there; 0.9 is never asked for
    assert (found.best_epoch, len(found.curve)) == (2, 4)
    assert all(torch.equal(found.weights[name], kept[1][name]) for name in found.weights)
    assert not all(torch.equal(found.weights[name], kept[3][name]) for name in found.weights)


def test_without_validation_the_last_epoch_is_kept(tmp_path: Path) -> None:
    found = fitted(tmp_path, config(), epochs=2, validate=None)
    assert (found.best_epoch, len(found.curve)) == (2, 2)
    assert "validation" not in found.curve[0]


def test_the_same_seed_gives_the_same_weights_and_another_does_not(tmp_path: Path, two_epochs: FittedSoftmax) -> None:
    again, other = (
        fitted(tmp_path / "again", config(), epochs=2),
        fitted(tmp_path / "other", config("seed=8"), epochs=1),
    )
    assert all(torch.equal(value, again.weights[name]) for name, value in two_epochs.weights.items())
    assert not torch.equal(two_epochs.weights["item.projection.weight"], other.weights["item.projection.weight"])


class Killed(Exception):
    pass


@pytest.mark.parametrize("after", [1, 2, 5, 6, 9])
def test_a_training_cut_off_after_any_checkpoint_ends_in_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, two_epochs: FittedSoftmax, after: int
) -> None:
    chosen = config()
    real, calls = Checkpoints.save, []

    def killing(*arguments: Any) -> None:
        real(*arguments)
        calls.append(arguments)
        if len(calls) == after:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", killing)
        with pytest.raises(Killed):
            fitted(tmp_path, chosen, epochs=2)
    # the new process may start from any weights: the checkpoint replaces them
    resumed = fitted(tmp_path, chosen, epochs=2, seed=99)
    assert all(torch.equal(value, resumed.weights[name]) for name, value in two_epochs.weights.items())
    assert resumed.best_epoch == two_epochs.best_epoch
    for one, two in zip(two_epochs.curve, resumed.curve, strict=True):
        assert {**one, "seconds": 0} == {**two, "seconds": 0}


def test_a_finished_training_is_not_repeated(tmp_path: Path, logged: pytest.LogCaptureFixture) -> None:
    first = fitted(tmp_path, config(), epochs=2)
    logged.clear()
    second = fitted(tmp_path, config(), epochs=2, seed=5)
    assert logged.messages == ["resuming after epoch 2, step 0"]
    assert second.curve == first.curve
    assert all(torch.equal(first.weights[name], second.weights[name]) for name in first.weights)


def test_a_watcher_sees_each_epoch_and_may_end_the_training_which_then_goes_on(
    tmp_path: Path, two_epochs: FittedSoftmax
) -> None:
    seen: list[list[float]] = []

    def watch(curve: Curve) -> None:
        seen.append([record["epoch"] for record in curve])
        if len(seen) == 1:
            raise InterruptedError

    def watched() -> FittedSoftmax:
        chosen = config()
        return fit_softmax(model(chosen), inputs_of(chosen), tmp_path, "f", epochs=2, validate=validation, watch=watch)

    with pytest.raises(InterruptedError):
        watched()
    found = watched()
    assert seen == [[1.0], [1.0, 2.0]]
    assert all(torch.equal(value, two_epochs.weights[name]) for name, value in found.weights.items())


def test_a_checkpoint_of_other_data_is_not_resumed(tmp_path: Path, logged: pytest.LogCaptureFixture) -> None:
    chosen = config()
    fitted(tmp_path, chosen, epochs=1)
    fit_softmax(model(chosen), inputs_of(chosen), tmp_path, "other", epochs=1)
    assert not any("resuming" in line for line in logged.messages)


def test_a_loss_that_is_not_a_number_stops_the_training(tmp_path: Path) -> None:
    chosen = config()
    broken = FEATURES._replace(text=FEATURES.text * math.nan)
    with pytest.raises(DataError, match=r"the loss of epoch 1, step 1 is nan; lower training\.learning_rate"):
        fit_softmax(model(chosen), inputs_of(chosen, broken), tmp_path, "f", epochs=1)
    assert not list(tmp_path.iterdir())


def test_the_temperature_is_learned_only_if_configured(tmp_path: Path) -> None:
    start = math.log(0.07)
    free = fitted(tmp_path / "1", config(), epochs=1).weights["log_temperature"]
    fixed = fitted(tmp_path / "2", config("training.learn_temperature=false"), epochs=1).weights["log_temperature"]
    assert float(fixed) == pytest.approx(start)
    assert abs(float(free) - start) > 1e-4


def test_the_learning_rate_rises_then_falls_to_a_tenth() -> None:
    settings = config("training.learning_rate=1", "training.warmup_steps=4").training
    rates = [learning_rate(settings, step, 104) for step in range(105)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates[4] == 1.0
    assert rates[54] == pytest.approx(0.55)
    assert rates[104] == pytest.approx(0.1)
    without_warmup = config("training.learning_rate=1").training
    assert learning_rate(without_warmup, 500, 104) == pytest.approx(0.1)
    assert rates[4:] == sorted(rates[4:], reverse=True)


def test_every_part_of_the_model_gets_a_gradient() -> None:
    chosen = config("model.attribute_dropout=0", "model.product_dropout=0")
    one, inputs = model(chosen), inputs_of(chosen)
    with torch.no_grad():
        for value in one.buyer.parameters():
            value.normal_(std=0.1)
    for batch in inputs.sampler.epoch(0):
        step_loss(one, batch, inputs).backward()
    for name, value in one.named_parameters():
        assert value.grad is not None and bool(value.grad.any()), name


def first_loss(chosen: Config) -> float:
    inputs = inputs_of(chosen)
    return float(step_loss(model(chosen), next(inputs.sampler.epoch(0)), inputs).detach())


def test_masking_and_correction_change_the_loss() -> None:
    values = {}
    for setting in ("training.mask_positives=true", "training.mask_positives=false", "training.logq_strength=0"):
        chosen = config(setting, "model.attribute_dropout=0", "model.product_dropout=0", "model.vector_dropout=0")
        values[setting] = first_loss(chosen)
    assert len(set(values.values())) == 3
    # fewer negatives, a smaller loss
    assert values["training.mask_positives=true"] < values["training.mask_positives=false"]


def test_titles_alone_are_aligned_to_their_categories_too() -> None:
    still = ("model.attribute_dropout=0", "model.product_dropout=0", "model.vector_dropout=0")
    chosen = config(*still)
    one, made = model(chosen), sampler(chosen)
    batch = next(made.epoch(0))

    def loss(titles: torch.Tensor | None, weight: float = 1.0) -> float:
        asked = config(*still, f"training.category_alignment={weight}")
        return float(step_loss(one, batch, TrainingInputs(FEATURES, made, asked, titles)).detach())

    def alignment(text: torch.Tensor) -> float:
        rows = torch.from_numpy(batch.products)
        unknown = torch.zeros(len(rows), dtype=torch.long)
        content = one.item(text[rows], unknown, unknown, unknown)
        prototypes, temperature = one.item.category.weight[1:], chosen.training.category_temperature
        return float(category_alignment(content, prototypes, FEATURES.category[rows], temperature).detach())

    titles = FEATURES.text.roll(1, dims=0)
    base = loss(None, weight=0)
    assert loss(None) == pytest.approx(base + alignment(FEATURES.text), rel=1e-5)
    assert loss(titles) == pytest.approx(base + (alignment(FEATURES.text) + alignment(titles)) / 2, rel=1e-5)


def test_few_pairs_take_more_epochs_and_more_patience(tmp_path: Path) -> None:
    chosen = config("training.max_epochs=2", "training.patience=1", "training.min_steps=40")
    steps = sampler(chosen).steps(0)
    assert planned_epochs(sampler(chosen), chosen.training) == math.ceil(40 / steps) > 2
    scores = iter([0.5, *[0.1] * 99])
    found = fitted(tmp_path, chosen, epochs=0, validate=lambda one: next(scores))
    # one of two epochs is half of all that there are
    assert len(found.curve) == 1 + math.ceil(math.ceil(40 / steps) / 2)


@pytest.mark.parametrize("epochs", [0, 3])
def test_without_training_pairs_no_epoch_is_made(tmp_path: Path, epochs: int) -> None:
    chosen = config("training.min_steps=1000")
    nothing = sampler(chosen, EVENTS.start[:-1] + 1)
    assert (nothing.pairs, planned_epochs(nothing, chosen.training)) == (0, 0)
    one = model(chosen)
    inputs = TrainingInputs(FEATURES, nothing, chosen)
    found = fit_softmax(one, inputs, tmp_path, "f", epochs=epochs, validate=validation)
    assert (found.best_epoch, found.curve, list(tmp_path.iterdir())) == (0, [], [])
    assert all(torch.equal(found.weights[name], value) for name, value in model(chosen).state_dict().items())


def test_a_step_over_the_whole_catalogue_needs_no_correction() -> None:
    still = ("model.attribute_dropout=0", "model.product_dropout=0", "model.vector_dropout=0")
    losses = []
    for strength in (0, 1):
        chosen = config(*still, f"training.logq_strength={strength}", "training.full_softmax=99")
        losses.append(first_loss(chosen))
    assert losses[0] == losses[1]


def test_the_device_is_chosen_by_itself() -> None:
    assert pick_device("cpu").type == "cpu"
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
