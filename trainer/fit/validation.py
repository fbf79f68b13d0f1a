"""Scores a model on the validation set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from trainer.config.schema import Config
from trainer.data.events import Events
from trainer.data.split import Cases, sample
from trainer.evaluate import ranking
from trainer.evaluate.baselines import Scorer
from trainer.model.inputs import ItemFeatures
from trainer.model.terms import NO_TERMS, TermChoice, Terms
from trainer.model.towers import TwoTower
from twotower.arrays import Float64, UInt64
from twotower.events import EventSchema


@dataclass(frozen=True)
class Validation:
    """The cases that candidates compete on; `ties` [N] orders products of equal scores."""

    config: Config
    features: ItemFeatures
    schema: EventSchema
    ties: UInt64
    events: Events
    cases: Cases

    def values(self, model: TwoTower, terms: Terms = NO_TERMS) -> Float64:
        """The configured metric of each case that has a target [C]."""
        vectors = ranking.model_scorer(model, self.features, self.events, self.schema, self.config.model.max_history)
        return self._measure(ranking.fused_scorer(vectors, terms, self.events, len(self.ties)))

    def score(self, model: TwoTower) -> float:
        """The mean of `values`."""
        return mean(self.values(model))

    def measure_terms(self, model: TwoTower, fit: Callable[[TermChoice], Terms]) -> Callable[[TermChoice], Float64]:
        """A function from a choice of terms to the metric of each case [C]: encodes the buyers once for all choices."""
        items = ranking.item_vectors(model, self.features)
        longest = self.config.model.max_history
        buyers = ranking.buyer_vectors(model, items, self.events, self.cases, self.schema, longest)
        vectors = ranking.known_scorer(buyers, self.cases, items)
        return lambda choice: self._measure(ranking.fused_scorer(vectors, fit(choice), self.events, len(self.ties)))

    def _measure(self, scorer: Scorer) -> Float64:
        settings = self.config.evaluation
        ranks = ranking.rank_targets(
            scorer, self.events, self.cases, self.ties, settings.exclude_seen, "validating", lists=False
        )
        return ranking.case_metrics(ranks)[settings.metric]

    def sample(self, buyers: int) -> Validation:
        """At most so many of the buyers, drawn at random."""
        return replace(self, cases=sample(self.cases, buyers, self.config.seed))


def mean(values: Float64) -> float:
    """0 without cases."""
    return float(values.mean()) if len(values) else 0.0
