"""Model selection: fits the linear model, the softmax and a blend of both, and chooses one on the validation set.

If buyers take few products each, a softmax over the catalogue is best. If they take many and come again, it overfits,
and a linear autoencoder in closed form is better. The linear model is chosen unless another gains more than one
standard error (Breiman et al., Classification and Regression Trees, 1984, 3.4.3): it is simpler, it is not the best of
several epochs, and it places cold products better.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from trainer.config.schema import Config
from trainer.data.matrix import MOST_PAIRS, item_pairs
from trainer.fit.blend import blend, last_head
from trainer.fit.fitter import Fitter
from trainer.fit.linear.cold import ColdStart
from trainer.fit.linear.hyperparameters import LinearHyperparameters, choose_hyperparameters
from trainer.fit.linear.placement import Placement
from trainer.fit.served_weights import serve_linear, serve_softmax
from trainer.fit.softmax.training import FittedSoftmax
from trainer.fit.training_set import TrainingSet
from trainer.fit.validation import Validation, mean
from trainer.model.towers import TwoTower, Weights, load_towers
from twotower.arrays import Float64

log = logging.getLogger(__name__)


class Candidate(NamedTuple):
    """A fitted model: its weights as services use them, and the validation metric of each case.

    `cold_start` is that of its linear part, if it has one.
    """

    weights: Weights
    values: Float64
    cold_start: ColdStart | None = None


class LinearCandidate(NamedTuple):
    """The linear candidate, with the hyperparameters and the placement that a blend reuses."""

    hyperparameters: LinearHyperparameters
    placement: Placement
    candidate: Candidate


class SelectedModel(NamedTuple):
    """The chosen kind of model, its weights as services use them, and what a refit needs.

    `epochs` are the softmax's, `linear` and `cold_start` the linear model's, `share` is its weight in a blend; `pairs`
    are the softmax's training pairs; `facts` go into training.json.
    """

    kind: str
    weights: Weights
    pairs: int
    epochs: int
    linear: LinearHyperparameters | None
    cold_start: ColdStart | None
    share: float
    facts: dict[str, Any]


class RefittedModel(NamedTuple):
    """The chosen kind fitted to other events: weights as services use them, the training curve, and the cold start."""

    weights: Weights
    curve: list[dict[str, float]]
    cold_start: ColdStart | None


def select_model(fitter: Fitter, data: TrainingSet, validation: Validation, folder: Path) -> SelectedModel:
    """Fits the candidates of `training.start` and chooses the best; `folder` is for checkpoints."""
    config, candidates = fitter.config, dict[str, Candidate]()
    start = config.training.start
    linear: LinearCandidate | None = None
    softmax: FittedSoftmax | None = None
    share = 0.0
    if start in ("linear", "blend") or (start == "auto" and validation.cases and _is_affordable(fitter, data)):
        linear = _linear_candidate(fitter, data, validation)
        candidates["linear"] = linear.candidate
    if start != "linear":
        softmax = _fit_softmax(fitter, data, validation, folder)
        weights = _serve_softmax(fitter, softmax.weights, data)
        candidates["softmax"] = Candidate(weights, validation.values(load_towers(weights, config.model)))
    if linear and softmax and config.can_blend:
        head = _serve_softmax(fitter, last_head(softmax.weights), data)
        share, candidates["blend"] = _blend_candidate(fitter, linear, head, validation)
    kind = start if start != "auto" else best_kind({name: one.values for name, one in candidates.items()})
    hyperparameters, epochs = linear.hyperparameters if linear else None, softmax.best_epoch if softmax else 0
    facts = {
        "kind": kind,
        "candidates": {name: mean(one.values) for name, one in candidates.items()} if validation.cases else {},
        "curve": softmax.curve if softmax else [],
        "best_epoch": epochs,
        "linear": hyperparameters._asdict() if hyperparameters else None,
        "share": share,
    }
    best, pairs = candidates[kind], fitter.sampler(data).pairs
    return SelectedModel(kind, best.weights, pairs, epochs, hyperparameters, best.cold_start, share, facts)


def refit_model(fitter: Fitter, selected: SelectedModel, name: str, data: TrainingSet, folder: Path) -> RefittedModel:
    """Fits the chosen kind, with its hyperparameters and number of epochs, to other events.

    `name` separates the checkpoints of two refits in one folder.
    """
    if selected.kind == "softmax":
        softmax = fitter.refit_softmax(data, folder, name, selected.epochs)
        return RefittedModel(_serve_softmax(fitter, softmax.weights, data), softmax.curve, None)
    assert selected.linear is not None
    placement = fitter.place(data)
    if selected.kind == "linear":
        weights = _serve_linear(fitter, placement, selected.linear)
        return RefittedModel(weights, [], placement.cold_start)
    softmax = fitter.refit_softmax(data, folder, name, selected.epochs, one_head=True)
    head = _serve_softmax(fitter, softmax.weights, data)
    narrow = fitter.place_beside_softmax(placement)
    weights = blend(_serve_linear(fitter, narrow, selected.linear), head, selected.share)
    return RefittedModel(weights, softmax.curve, narrow.cold_start)


def best_kind(values: Mapping[str, Float64]) -> str:
    """Chooses by the metric of each case [C]: linear, unless the best other gains more than one standard error."""
    rival = max((name for name in values if name != "linear"), key=lambda name: mean(values[name]), default="")
    if "linear" not in values or not rival:
        return rival or "linear"
    gains = values[rival] - values["linear"]
    gain, error = mean(gains), float(gains.std(ddof=1) / np.sqrt(len(gains))) if len(gains) > 1 else 0.0
    kind = "linear" if gain <= error else rival
    log.info(f"chose {kind}: {rival} gains {gain:.4f} over linear, one standard error is {error:.4f}")
    return kind


def _is_affordable(fitter: Fitter, data: TrainingSet) -> bool:
    pairs = item_pairs(data.events, data.stop, fitter.sizes.products)
    if pairs > MOST_PAIRS:
        log.info(f"no linear model: up to {pairs:,} pairs of products, the limit is {MOST_PAIRS:,}")
    return pairs <= MOST_PAIRS


def _linear_candidate(fitter: Fitter, data: TrainingSet, validation: Validation) -> LinearCandidate:
    """Chooses the hyperparameters on a sample of the buyers and scores the model on all."""
    placement, config = fitter.place(data), fitter.config
    some = validation.sample(config.linear.validation_buyers)
    scores: dict[LinearHyperparameters, float] = {}

    def score(choice: LinearHyperparameters) -> float:
        if choice not in scores:
            scores[choice] = some.score(fitter.fit_linear(placement, choice))
        return scores[choice]

    chosen = choose_hyperparameters(_linear_settings(config), score)
    model = fitter.fit_linear(placement, chosen)
    values = validation.values(model)
    log.info(
        f"linear: validation {config.evaluation.metric} {mean(values):.4f}, half-life "
        f"{chosen.half_life_days:g} days, trend {chosen.trend:g}, trust in content {chosen.trust:g}"
    )
    weights = serve_linear(model.state_dict(), fitter.features)
    return LinearCandidate(chosen, placement, Candidate(weights, values, placement.cold_start))


def _linear_settings(config: Config) -> Any:
    """The hyperparameters to try: a weighted average has no constant, which trend and trust need."""
    if config.model.buyer_tower == "weighted_average":
        return config.linear.model_copy(update={"trend_weights": [0.0], "cold_lengths": [1.0]})
    return config.linear


def _fit_softmax(fitter: Fitter, data: TrainingSet, validation: Validation, folder: Path) -> FittedSoftmax:
    """Trains the softmax; each epoch is validated as it would be served."""

    def validate(model: TwoTower) -> float:
        served = _serve_softmax(fitter, model.state_dict(), data)
        return validation.score(load_towers(served, fitter.config.model))

    return fitter.fit_softmax(data, folder, validate=validate if validation.cases else None)


def _blend_candidate(
    fitter: Fitter, linear: LinearCandidate, head: Weights, validation: Validation
) -> tuple[float, Candidate]:
    """Chooses the linear model's share in a blend with one head of the softmax."""
    narrow = fitter.place_beside_softmax(linear.placement)
    weights = _serve_linear(fitter, narrow, linear.hyperparameters)
    candidates = {}
    for share in fitter.config.linear.blend_weights:
        blended = blend(weights, head, share)
        values = validation.values(load_towers(blended, fitter.config.model))
        candidates[share] = Candidate(blended, values, narrow.cold_start)
    share = max(candidates, key=lambda one: mean(candidates[one].values))
    metric, score = fitter.config.evaluation.metric, mean(candidates[share].values)
    log.info(f"blend: validation {metric} {score:.4f}, {share:g} of it is the linear model")
    return share, candidates[share]


def _serve_linear(fitter: Fitter, placement: Placement, choice: LinearHyperparameters) -> Weights:
    return serve_linear(fitter.fit_linear(placement, choice).state_dict(), fitter.features)


def _serve_softmax(fitter: Fitter, weights: Weights, data: TrainingSet) -> Weights:
    is_trained = data.trained_products(fitter.sizes.products)
    return serve_softmax(weights, fitter.features, is_trained, fitter.config.seed)
