"""Model selection: fits vectors and terms, and chooses one mixture of them on the validation set.

Vectors are those of the linear model, of the softmax, or of a blend of both. If buyers take few products each, a
softmax over the catalogue is best. If they take many and come again, it overfits, and a linear autoencoder in closed
form is better. Each is mixed with the terms that it gains by: neighbours of the last products, and popularity. The
simple baselines are corners of the same mixture, without vectors. The simplest model is chosen to which the best one
gains no more than one standard error, neither in the metric nor in recall@100 (Breiman et al., Classification and
Regression Trees, 1984, 3.4.3).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from trainer.config.schema import Config
from trainer.data.matrix import MOST_PAIRS, item_pairs
from trainer.fit.blend import blend, last_head
from trainer.fit.fitter import Fitter
from trainer.fit.linear.cold import ColdStart
from trainer.fit.linear.hyperparameters import LinearHyperparameters, choose_hyperparameters
from trainer.fit.linear.placement import Placement
from trainer.fit.served_weights import serve_linear, serve_softmax
from trainer.fit.softmax.training import Curve, FittedSoftmax
from trainer.fit.terms import TermFitter, TermSearch
from trainer.fit.training_set import TrainingSet
from trainer.fit.validation import CaseValues, Validation, is_clearly_better, mean
from trainer.model.terms import TermChoice, Terms
from trainer.model.towers import TwoTower, Weights, load_towers

log = logging.getLogger(__name__)


# buyers who decide after which epoch the softmax is best
_EPOCH_BUYERS = 5000
# a blend is fitted unless one of its parts has less than this share of the other's metric
_WORTH_BLENDING = 0.6
# all kinds of model, the simplest first
KINDS = (
    "popularity",
    "recent_popularity",
    "bought_before",
    "item_knn",
    "transitions",
    "proximity",
    "linear",
    "softmax",
    "blend",
)


class Candidate(NamedTuple):
    """Fitted vectors: the weights as services use them, and the validation metric of each case without terms.

    `cold_start` is that of the linear part, if there is one.
    """

    weights: Weights
    values: CaseValues
    cold_start: ColdStart | None = None


class Mixture(NamedTuple):
    """The terms, and the metric of each validation case [C]; `vectors` is the kind of the vectors in the version."""

    vectors: str
    choice: TermChoice
    values: CaseValues


class LinearCandidate(NamedTuple):
    """The linear candidate, with the hyperparameters and the placement that a blend reuses."""

    hyperparameters: LinearHyperparameters
    placement: Placement
    candidate: Candidate


class Fitted(NamedTuple):
    """The vectors of `training.start`, by their kind, and what they were made of; `share` is the blend's."""

    candidates: dict[str, Candidate]
    linear: LinearCandidate | None
    softmax: FittedSoftmax | None
    share: float


class Recipe(NamedTuple):
    """What a refit needs: the kind of the vectors, the terms, the softmax's epochs, the linear model's hyperparameters,
    and its share in a blend."""

    vectors: str
    choice: TermChoice
    epochs: int
    linear: LinearHyperparameters | None
    share: float


class SelectedModel(NamedTuple):
    """The chosen kind of model, its weights as services use them, its terms, and what a refit needs.

    A `kind` without vectors still has some, of the kind `vectors`: services encode buyers and products with them.
    `epochs` are the softmax's, `linear` and `cold_start` the linear model's, `share` is its weight in a blend; `pairs`
    are the softmax's training pairs; `facts` go into training.json.
    """

    kind: str
    vectors: str
    weights: Weights
    choice: TermChoice
    terms: Terms
    pairs: int
    epochs: int
    linear: LinearHyperparameters | None
    cold_start: ColdStart | None
    share: float
    facts: dict[str, Any]

    @property
    def recipe(self) -> Recipe:
        return Recipe(self.vectors, self.choice, self.epochs, self.linear, self.share)


class RefittedModel(NamedTuple):
    """The chosen kind fitted to other events: weights as services use them, the training curve, and the cold start."""

    weights: Weights
    terms: Terms
    curve: list[dict[str, float]]
    cold_start: ColdStart | None


def select_model(fitter: Fitter, data: TrainingSet, validation: Validation, folder: Path) -> SelectedModel:
    """Fits the candidates of `training.start` and chooses the best; `folder` is for checkpoints."""
    term_fitter = TermFitter(fitter.config, data, fitter.sizes.products)
    linear = linear_candidate(fitter, data, validation)
    softmax = softmax_candidate(fitter, data, validation, folder)
    curve, epochs = (softmax.curve, softmax.best_epoch) if softmax else ([], 0)
    fitted = combine(fitter, data, validation, linear, softmax)
    candidates, share = fitted.candidates, fitted.share
    del softmax, fitted  # the softmax's weights as they were trained: those that are served stay
    mixtures = mix(fitter, term_fitter, candidates, validation)
    kind = choose_kind(fitter.config, mixtures)
    vectors, choice = mixtures[kind].vectors, mixtures[kind].choice
    hyperparameters = linear.hyperparameters if linear else None
    facts = {
        "kind": kind,
        "vectors": vectors,
        "terms": choice._asdict(),
        "candidates": {name: mean(one.values.metric) for name, one in mixtures.items()} if validation.cases else {},
        "vectors_alone": {name: mean(one.values.metric) for name, one in candidates.items()}
        if validation.cases
        else {},
        "curve": curve,
        "best_epoch": epochs,
        "linear": hyperparameters._asdict() if hyperparameters else None,
        "share": share,
    }
    best, pairs = candidates[vectors], fitter.sampler(data).pairs
    terms = term_fitter.fit(choice)
    return SelectedModel(
        kind, vectors, best.weights, choice, terms, pairs, epochs, hyperparameters, best.cold_start, share, facts
    )


def linear_candidate(fitter: Fitter, data: TrainingSet, validation: Validation) -> LinearCandidate | None:
    """The linear model; None if `training.start` has none, if there are no cases, or if the log is too large."""
    start = fitter.config.training.start
    if start in ("linear", "blend") or (start == "auto" and validation.cases and _is_affordable(fitter, data)):
        return _fit_linear(fitter, data, validation)
    return None


def softmax_candidate(
    fitter: Fitter,
    data: TrainingSet,
    validation: Validation,
    folder: Path,
    watch: Callable[[Curve], None] | None = None,
) -> FittedSoftmax | None:
    """The trained softmax; None if `training.start` has none. `watch` is as in `fit_softmax`.

    Each epoch is validated as it would be served, without terms.
    """
    if fitter.config.training.start == "linear":
        return None
    some = validation.sample(_EPOCH_BUYERS)

    def validate(model: TwoTower) -> float:
        served = _serve_softmax(fitter, model.state_dict(), data)
        return some.score(load_towers(served, fitter.config.model))

    return fitter.fit_softmax(data, folder, validate=validate if validation.cases else None, watch=watch)


def combine(
    fitter: Fitter,
    data: TrainingSet,
    validation: Validation,
    linear: LinearCandidate | None,
    softmax: FittedSoftmax | None,
) -> Fitted:
    """The vectors to choose from: those of both models, as services use them, and of their blend."""
    config, candidates, share = fitter.config, dict[str, Candidate](), 0.0
    if linear:
        candidates["linear"] = linear.candidate
    if softmax:
        weights = _serve_softmax(fitter, softmax.weights, data)
        candidates["softmax"] = Candidate(weights, validation.values(load_towers(weights, config.model)))
    if linear and softmax and config.can_blend and (config.training.start == "blend" or _is_worth_blending(candidates)):
        head = _serve_softmax(fitter, last_head(softmax.weights), data)
        share, candidates["blend"] = _blend_candidate(fitter, linear, head, validation)
    return Fitted(candidates, linear, softmax, share)


def choose_kind(config: Config, mixtures: Mapping[str, Mixture]) -> str:
    """The best kind of those that `training.start` allows."""
    start = config.training.start
    allowed = mixtures if start == "auto" else {start: mixtures[start]}
    return best_kind({name: one.values for name, one in allowed.items()})


def refit_model(fitter: Fitter, recipe: Recipe, name: str, data: TrainingSet, folder: Path) -> RefittedModel:
    """Fits the chosen kind, with its hyperparameters and number of epochs, to other events.

    `name` separates the checkpoints of two refits in one folder.
    """
    terms = TermFitter(fitter.config, data, fitter.sizes.products).fit(recipe.choice)
    if recipe.vectors == "softmax":
        softmax = fitter.refit_softmax(data, folder, name, recipe.epochs)
        return RefittedModel(_serve_softmax(fitter, softmax.weights, data), terms, softmax.curve, None)
    assert recipe.linear is not None
    placement = fitter.place(data)
    if recipe.vectors == "linear":
        weights = _serve_linear(fitter, placement, recipe.linear)
        return RefittedModel(weights, terms, [], placement.cold_start)
    softmax = fitter.refit_softmax(data, folder, name, recipe.epochs, one_head=True)
    head = _serve_softmax(fitter, softmax.weights, data)
    narrow = fitter.place_beside_softmax(placement)
    weights = blend(_serve_linear(fitter, narrow, recipe.linear), head, recipe.share)
    return RefittedModel(weights, terms, softmax.curve, narrow.cold_start)


def best_kind(values: Mapping[str, CaseValues]) -> str:
    """Chooses the simplest kind to which the best, by the metric, gains no more than one standard error.

    Nor may the best gain so much in recall@100.
    """
    best = max(values, key=lambda name: mean(values[name].metric))
    kind = next(name for name in KINDS if name in values and not is_clearly_better(values[best], values[name]))
    log.info(f"chose {kind}: {mean(values[kind].metric):.4f}, the best is {best} with {mean(values[best].metric):.4f}")
    return kind


def mix(
    fitter: Fitter, terms: TermFitter, candidates: Mapping[str, Candidate], validation: Validation
) -> dict[str, Mixture]:
    """Every candidate with the terms that it gains by, and the corners without vectors; without validation, no terms.

    Terms are chosen on a sample of the buyers, and each mixture is scored on all of them.
    """
    if not validation.cases:
        return {name: Mixture(name, TermChoice(), one.values) for name, one in candidates.items()}
    some, mixtures = validation.sample(fitter.config.linear.validation_buyers), dict[str, Mixture]()
    best = max(candidates, key=lambda name: mean(candidates[name].values.metric))
    for name, candidate in candidates.items():
        model = load_towers(candidate.weights, fitter.config.model)
        search = TermSearch(terms, fitter.config, some.measure_terms(model, terms.fit))
        # the linear part of a model
        found = {name: (name, search.beside_vectors(has_trend=candidate.cold_start is not None))}
        if name == best:
            found |= {corner: (best, chosen) for corner, chosen in search.alone()}
        for kind, (vectors, chosen) in found.items():
            values = validation.values(model, terms.fit(chosen.choice))
            mixtures[kind] = Mixture(vectors, chosen.choice, values)
            score = f"{fitter.config.evaluation.metric} {mean(values.metric):.4f}"
            log.info(f"{kind}: validation {score}, {chosen.choice.describe()}")
    return mixtures


def _is_worth_blending(candidates: Mapping[str, Candidate]) -> bool:
    scores = [mean(one.values.metric) for one in candidates.values()]
    if min(scores) < _WORTH_BLENDING * max(scores):
        log.info(f"no blend: one of its parts has {min(scores):.4f}, the other {max(scores):.4f}")
        return False
    return True


def _is_affordable(fitter: Fitter, data: TrainingSet) -> bool:
    pairs = item_pairs(data.events, data.stop, fitter.sizes.products)
    if pairs > MOST_PAIRS:
        log.info(f"no linear model: up to {pairs:,} pairs of products, the limit is {MOST_PAIRS:,}")
    return pairs <= MOST_PAIRS


def _fit_linear(fitter: Fitter, data: TrainingSet, validation: Validation) -> LinearCandidate:
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
        f"linear: validation {config.evaluation.metric} {mean(values.metric):.4f}, half-life "
        f"{chosen.half_life_days:g} days, trend {chosen.trend:g}, trust in content {chosen.trust:g}"
    )
    weights = serve_linear(model.state_dict(), fitter.features)
    return LinearCandidate(chosen, placement, Candidate(weights, values, placement.cold_start))


def _linear_settings(config: Config) -> Any:
    """The hyperparameters to try: a weighted average has no constant, which trend and trust need."""
    if config.model.buyer_tower == "weighted_average":
        return config.linear.model_copy(update={"trend_weights": [0.0], "cold_lengths": [1.0]})
    return config.linear


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
    share = max(candidates, key=lambda one: mean(candidates[one].values.metric))
    metric, score = fitter.config.evaluation.metric, mean(candidates[share].values.metric)
    log.info(f"blend: validation {metric} {score:.4f}, {share:g} of it is the linear model")
    return share, candidates[share]


def _serve_linear(fitter: Fitter, placement: Placement, choice: LinearHyperparameters) -> Weights:
    return serve_linear(fitter.fit_linear(placement, choice).state_dict(), fitter.features)


def _serve_softmax(fitter: Fitter, weights: Weights, data: TrainingSet) -> Weights:
    is_trained = data.trained_products(fitter.sizes.products)
    return serve_softmax(weights, fitter.features, is_trained, fitter.neighbours)
