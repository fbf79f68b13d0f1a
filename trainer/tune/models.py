"""What a trial is measured by: models of one shop, fitted without its test events, and their validation figures."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from trainer.config.schema import Config
from trainer.data.split import Cases, sample, without_test
from trainer.errors import DataError
from trainer.fit.fitter import Fitter
from trainer.fit.selection import Fitted, Mixture, choose_kind, combine, linear_candidate, mix
from trainer.fit.softmax.training import FittedSoftmax
from trainer.fit.terms import TermFitter, TermSearch
from trainer.fit.training_set import TrainingSet
from trainer.fit.validation import CaseValues, Validation, gains, keeps_recall, mean
from trainer.model.terms import TermChoice
from trainer.model.towers import load_towers
from trainer.stages.workspace import Run
from twotower.arrays import Mask


@dataclass(frozen=True)
class Buyers:
    """The events of one shop without those of the test, and its validation buyers.

    One half of them, `guide`, guides the search, the others judge its result: the best of many trials looks better than
    it is to the buyers that it was chosen by. `judges` [C] is True for their places in what `validation` measures.
    """

    data: TrainingSet
    validation: Validation
    guide: Validation
    judges: Mask


@dataclass(frozen=True)
class Standing:
    """A configuration with the models that `run` would choose from, and the kind that it would choose."""

    fitter: Fitter
    terms: TermFitter
    fitted: Fitted
    mixtures: dict[str, Mixture]
    kind: str

    @property
    def config(self) -> Config:
        return self.fitter.config

    @property
    def values(self) -> CaseValues:
        """How well the chosen model ranks each validation case."""
        return self.mixtures[self.kind].values


def buyers_of(run: Run, fitter: Fitter) -> Buyers:
    """Removes the test events and halves the validation buyers. Raises DataError if there are fewer than two."""
    events, split = without_test(run.events, run.split)
    cases = sample(split.validation, run.config.evaluation.validation_buyers, run.config.seed)
    validation = Validation(run.config, fitter.features, run.schema, run.ties, events, cases)
    places = validation.places()
    if len(places) < 2:
        raise DataError(f"tune needs two buyers to validate on, there are {len(places)}")
    judges = np.zeros(len(places), np.bool_)
    judges[np.random.default_rng(run.config.seed).permutation(len(places))[: len(places) // 2]] = True
    guide = replace(validation, cases=Cases(*(column[places[~judges]] for column in cases)))
    return Buyers(TrainingSet(events, split.train_stop), validation, guide, judges)


def stand(buyers: Buyers, fitter: Fitter, fitted: Fitted) -> Standing:
    """Chooses among fitted models as `run` does."""
    terms = TermFitter(fitter.config, buyers.data, fitter.sizes.products)
    mixtures = mix(fitter, terms, fitted.candidates, buyers.validation)
    return Standing(fitter, terms, fitted, mixtures, choose_kind(fitter.config, mixtures))


def is_better(new: CaseValues, old: CaseValues) -> bool:
    """Whether the metric rises by more than one standard error, and recall@100 does not fall clearly."""
    return gains(new.metric, old.metric) and keeps_recall(new, old)


def measure_neighbours(buyers: Buyers, standing: Standing, fitter: Fitter) -> float:
    """The guides' figure with a table of transitions: alone, or beside the vectors of the model that stands."""
    terms, mixtures = TermFitter(fitter.config, buyers.data, fitter.sizes.products), standing.mixtures
    vectors = mixtures[standing.kind].vectors
    weights = standing.fitted.candidates[vectors].weights
    some = buyers.guide.sample(fitter.config.linear.validation_buyers)
    measure = some.measure_terms(load_towers(weights, fitter.config.model), terms.fit)
    search = TermSearch(terms, fitter.config, measure)
    found = [search.table_beside("transitions", mixtures[vectors].choice)]
    if fitter.config.training.start == "auto":
        found.append(search.table_alone("transitions", mixtures["transitions"].choice))
    return max(mean(one.values.metric) for one in found)


def measure_linear(buyers: Buyers, standing: Standing, fitter: Fitter) -> float:
    """The guides' figure of the linear model, or of its blend with the softmax that stands."""
    linear = linear_candidate(fitter, buyers.data, buyers.guide)
    fitted = combine(fitter, buyers.data, buyers.guide, linear, standing.fitted.softmax)
    terms = TermFitter(fitter.config, buyers.data, fitter.sizes.products)
    return _best(buyers, standing, fitter, terms, fitted, ("linear", "blend"))


def measure_softmax(buyers: Buyers, standing: Standing, fitter: Fitter, softmax: FittedSoftmax | None) -> float:
    """The guides' figure of a softmax, or of its blend with the linear model that stands."""
    fitted = combine(fitter, buyers.data, buyers.guide, standing.fitted.linear, softmax)
    return _best(buyers, standing, fitter, standing.terms, fitted, ("softmax", "blend"))


def _best(
    buyers: Buyers, standing: Standing, fitter: Fitter, terms: TermFitter, fitted: Fitted, kinds: tuple[str, ...]
) -> float:
    """The best of these kinds, each with the terms that it has in the model that stands."""
    scores = []
    for kind in set(kinds) & set(fitted.candidates):
        choice = standing.mixtures[kind].choice if kind in standing.mixtures else TermChoice()
        model = load_towers(fitted.candidates[kind].weights, fitter.config.model)
        scores.append(mean(buyers.guide.values(model, terms.fit(choice)).metric))
    return max(scores)
