"""Scores a model on the validation set."""

from __future__ import annotations

from dataclasses import dataclass, replace

from trainer.config.schema import Config
from trainer.data.events import Events
from trainer.data.split import Cases, sample
from trainer.evaluate import ranking
from trainer.model.inputs import ItemFeatures
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

    def values(self, model: TwoTower) -> Float64:
        """The configured metric of each case that has a target [C]."""
        settings = self.config.evaluation
        scorer = ranking.model_scorer(model, self.features, self.events, self.schema, self.config.model.max_history)
        ranks = ranking.rank_targets(
            scorer, self.events, self.cases, self.ties, settings.excludes_seen, "validating", lists=False
        )
        return ranking.case_metrics(ranks)[settings.metric]

    def score(self, model: TwoTower) -> float:
        """The mean of `values`."""
        return mean(self.values(model))

    def sample(self, buyers: int) -> Validation:
        """At most so many of the buyers, drawn at random."""
        return replace(self, cases=sample(self.cases, buyers, self.config.seed))


def mean(values: Float64) -> float:
    """0 without cases."""
    return float(values.mean()) if len(values) else 0.0
