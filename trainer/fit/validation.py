"""Scores a model on the validation set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from trainer.config.schema import Config
from trainer.data.events import Events
from trainer.data.split import Cases, sample
from trainer.evaluate import ranking
from trainer.evaluate.baselines import Scorer
from trainer.model.inputs import ItemFeatures
from trainer.model.terms import NO_TERMS, TermChoice, Terms
from trainer.model.towers import TwoTower
from twotower.arrays import Float64, Int64, UInt64
from twotower.events import EventSchema


class CaseValues(NamedTuple):
    """The configured metric, and recall@100, of each case that has a target [C]."""

    metric: Float64
    recall: Float64


@dataclass(frozen=True)
class Validation:
    """The cases that candidates compete on; `ties` [N] orders products of equal scores."""

    config: Config
    features: ItemFeatures
    schema: EventSchema
    ties: UInt64
    events: Events
    cases: Cases

    def values(self, model: TwoTower, terms: Terms = NO_TERMS) -> CaseValues:
        """How well the model ranks each case with these terms."""
        vectors = ranking.model_scorer(model, self.features, self.events, self.schema, self.config.model.max_history)
        return self._measure(ranking.fused_scorer(vectors, terms, self.events, len(self.ties)))

    def score(self, model: TwoTower) -> float:
        """The mean of the configured metric."""
        return mean(self.values(model).metric)

    def measure_terms(self, model: TwoTower, fit: Callable[[TermChoice], Terms]) -> Callable[[TermChoice], CaseValues]:
        """A function from a choice of terms to `values` with them: encodes the buyers once for all choices."""
        items = ranking.item_vectors(model, self.features)
        longest = self.config.model.max_history
        buyers = ranking.buyer_vectors(model, items, self.events, self.cases, self.schema, longest)
        vectors = ranking.known_scorer(buyers, self.cases, items)
        return lambda choice: self._measure(ranking.fused_scorer(vectors, fit(choice), self.events, len(self.ties)))

    def _measure(self, scorer: Scorer) -> CaseValues:
        values = ranking.case_metrics(self._rank(scorer))
        return CaseValues(values[self.config.evaluation.metric], values["recall@100"])

    def _rank(self, scorer: Scorer) -> ranking.Ranks:
        excludes_seen = self.config.evaluation.excludes_seen
        return ranking.rank_targets(
            scorer, self.events, self.cases, self.ties, excludes_seen, "validating", lists=False
        )

    def places(self) -> Int64:
        """The places of the cases that have a target, those that all figures are of [C]."""
        nothing = np.zeros(len(self.ties), np.float32)
        ranks = self._rank(lambda cases: np.tile(nothing, (len(cases), 1)))
        return np.unique(ranks.case)

    def sample(self, buyers: int) -> Validation:
        """At most so many of the buyers, drawn at random."""
        return replace(self, cases=sample(self.cases, buyers, self.config.seed))


def mean(values: Float64) -> float:
    """0 without cases."""
    return float(values.mean()) if len(values) else 0.0


def gains(better: Float64, worse: Float64, errors: float = 1.0) -> bool:
    """True if the metric of the cases [C] rises by more than so many standard errors of its mean difference."""
    differences = better - worse
    error = float(differences.std(ddof=1) / np.sqrt(len(differences))) if len(differences) > 1 else 0.0
    return mean(differences) > errors * error


def keeps_recall(one: CaseValues, other: CaseValues) -> bool:
    """True if `one` does not lose more recall@100 against `other` than two standard errors."""
    return not gains(other.recall, one.recall, errors=2.0)


def is_clearly_better(one: CaseValues, other: CaseValues) -> bool:
    """True if `one` gains over `other` in the metric, or clearly in recall@100."""
    return gains(one.metric, other.metric) or not keeps_recall(other, one)
