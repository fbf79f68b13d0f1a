"""The terms of a score: fits the table of neighbours and the prior, and chooses their weights on validation.

A term is added only if validation gains more than one standard error by it, a prior if it gains more than two (Breiman
et al., Classification and Regression Trees, 1984, 3.4.3).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from trainer.config.schema import Config, Neighbours
from trainer.data.matrix import MOST_PAIRS, history_matrix, item_pairs, item_similarities, keep_largest
from trainer.data.popularity import buyer_counts, recent_counts
from trainer.data.split import Cases
from trainer.data.transitions import TransitionSettings, transition_matrix
from trainer.fit.training_set import TrainingSet
from trainer.fit.validation import CaseValues, gains, keeps_recall, mean
from trainer.model.terms import TermChoice, Terms, expect_of_new
from twotower.arrays import Float32
from twotower.artifact.manifest import Fusion

log = logging.getLogger(__name__)

PRIORS = ("popularity", "recent_popularity")
# weight of the cosine where it only orders what the table leaves equal
_TIE_BREAK = 0.02
# products near one another: as in STAN (Garg et al., SIGIR 2019) the order counts little and the distance slowly; the
# numbers are those that were best for the sessions of Diginetica
_PROXIMITY = TransitionSettings(
    steps=10,
    decay=0.75,
    reverse=0.6,
    source_power=0.6,
    target_power=0.1,
    max_gap_days=None,
    kind_power=0.0,
    keep=100,
    repeats=False,
)
# the vectors alone
_NONE = TermChoice()
# weight of the newest own product where all own products come first: the weighted prior is at most 1
_OWN_FIRST = 2.0
# buyers whose histories give a table its scale
_SCALED_ON = 2000


def _transition_settings(settings: Neighbours) -> TransitionSettings:
    return _PROXIMITY._replace(
        steps=settings.steps,
        decay=settings.step_weight,
        reverse=settings.reverse,
        source_power=settings.source_power,
        target_power=settings.target_power,
    )


class TermFitter:
    """Fits the terms of one training set; each table and each prior is fitted once.

    A table of a large catalogue takes hundreds of megabytes: those of a kind and a half-life are kept, and scaled anew
    for each choice.
    """

    def __init__(self, config: Config, data: TrainingSet, products: int) -> None:
        self._config, self._data, self._products = config, data, products
        self._scales: dict[tuple[str, float, float], np.float32 | None] = {}
        self._matrices: dict[tuple[str, float], Any] = {}
        self._priors: dict[str, Float32 | None] = {}

    def fit(self, choice: TermChoice) -> Terms:
        """The terms of a choice; a table without entries and a prior without events are left out."""
        table = self._table(choice.table, choice.half_life_days, choice.decay) if choice.table_weight else None
        prior = self._prior(choice.prior) if choice.prior_weight else None
        if prior is not None and choice.vector_weight:
            prior = expect_of_new(prior)
        return Terms(
            Fusion(
                vector_weight=choice.vector_weight,
                neighbour_weight=choice.table_weight if table is not None else 0.0,
                steps=self._config.neighbours.history_steps,
                decay=choice.decay,
                prior_weight=choice.prior_weight if prior is not None else 0.0,
                own_weight=choice.own_weight,
                own_steps=self._config.model.max_history,
                own_decay=choice.own_decay,
            ),
            table,
            prior,
        )

    def tables(self) -> Iterator[str]:
        """The kinds of table that this training set can have."""
        if len(self._data.events.buyer):
            yield "transitions"
            yield "proximity"
            pairs = item_pairs(self._data.events, self._data.stop, self._products)
            if pairs <= MOST_PAIRS:
                yield "item_knn"
            else:
                log.info(f"no table of item-kNN: up to {pairs:,} pairs of products, the limit is {MOST_PAIRS:,}")

    def _table(self, name: str, half_life: float, decay: float) -> sparse.csr_matrix | None:
        """Scaled so that the best neighbour's score is 1 for the median history."""
        key, matrix = (name, half_life, decay), self._matrix(name, half_life)
        if key not in self._scales:
            histories = self._histories(decay)
            best = np.asarray((histories @ matrix).max(axis=1).todense()).ravel() if matrix.nnz else np.zeros(1)
            best = best[best > 0]
            self._scales[key] = np.float32(1 / np.median(best)) if len(best) else None
        scale = self._scales[key]
        return None if scale is None else matrix * scale

    def _matrix(self, name: str, half_life: float) -> Any:
        key = name, half_life
        if key not in self._matrices:
            events, stop, settings = self._data.events, self._data.stop, self._config.neighbours
            if name == "item_knn":
                similar = item_similarities(events, stop, self._products)
                self._matrices[key] = keep_largest(similar, settings.keep)
            else:
                asked = _transition_settings(settings) if name == "transitions" else _PROXIMITY
                gap = settings.max_gap_days or None
                asked = asked._replace(keep=settings.keep, max_gap_days=gap, half_life_days=half_life)
                self._matrices[key] = transition_matrix(events, stop, self._products, asked)
        return self._matrices[key]

    def _histories(self, decay: float) -> Any:
        """Weights [B, N] of the products in the histories of some buyers."""
        start, stop = self._data.events.start[:-1], self._data.stop
        buyers = np.flatnonzero(stop > start)
        if len(buyers) > _SCALED_ON:
            draw = np.random.default_rng(self._config.seed)
            buyers = np.sort(draw.choice(buyers, _SCALED_ON, replace=False))
        cases = Cases(buyers, start[buyers], stop[buyers], stop[buyers])
        steps = self._config.neighbours.history_steps
        return history_matrix(self._data.events, cases, self._products, steps, decay)

    def _prior(self, name: str) -> Float32 | None:
        """The square root of a product's popularity, as a share of the most popular one's [N]."""
        if name not in self._priors:
            events, stop = self._data.events, self._data.stop
            half_life = self._config.linear.trend_half_life_days
            counts = (
                buyer_counts(events, stop, self._products)
                if name == "popularity"
                else recent_counts(events, stop, self._products, half_life)
            )
            most = float(counts.max()) if len(counts) else 0.0
            self._priors[name] = np.sqrt(counts / most).astype(np.float32) if most > 0 else None
        return self._priors[name]


class ChosenTerms(NamedTuple):
    """A choice, and how well each validation case is ranked with it."""

    choice: TermChoice
    values: CaseValues


class TermSearch:
    """Searches the terms for one model's scores: one setting after another, by the metric on some validation buyers."""

    def __init__(self, fitter: TermFitter, config: Config, measure: Callable[[TermChoice], CaseValues]) -> None:
        """`measure` gives the values of the validation cases with these terms."""
        self._fitter, self._measure = fitter, measure
        self._neighbours, self._prior_weights = config.neighbours, config.prior.weights
        self._own, self._excludes_seen = config.own, config.evaluation.excludes_seen
        self._known: dict[TermChoice, CaseValues] = {}

    def beside_vectors(self, *, has_trend: bool = False) -> ChosenTerms:
        """The terms to add to the cosines; none that gains no more than one standard error.

        Vectors that hold a trend of popularity get no prior: it would count the same thing twice and hide new products.
        """
        # the own products first: without them, a heavy table would hide products that buyers come back to
        options = [self._with_own(self._best([_NONE]))]
        if self._neighbours.weights:
            options += self._tables_beside(options[0].choice)
        found = self._with_own(self._with_half_life(_best_if_it_gains(options)))
        return found if has_trend else self._with_prior(found)

    def alone(self) -> list[tuple[str, ChosenTerms]]:
        """The corners, simplest first: each prior by itself, and each table with the prior that it gains by.

        A table leaves the products without a neighbour's score to the vectors.
        """
        corners = [(name, self._best([TermChoice(vector_weight=0.0, prior=name, prior_weight=1.0)])) for name in PRIORS]
        if not self._excludes_seen:
            corners.append(("bought_before", self._own_before_popular()))
        for name in self._fitter.tables():
            corners.append((name, self._with_prior(self._with_own(self.table_alone(name)))))
        return corners

    def _own_before_popular(self) -> ChosenTerms:
        """The history's own products, then the popular ones."""
        plain = TermChoice(vector_weight=0.0, prior_weight=1.0, own_weight=_OWN_FIRST)
        return self._best(plain._replace(prior=name, own_decay=decay) for name in PRIORS for decay in self._own.decays)

    def table_alone(self, name: str, others: TermChoice = _NONE) -> ChosenTerms:
        """A kind of table without the vectors, with the best decay of a history, beside the `others`' own and prior."""
        plain = others._replace(vector_weight=_TIE_BREAK, table=name, table_weight=1.0)
        return self._best(plain._replace(decay=decay) for decay in self._neighbours.history_decays)

    def table_beside(self, name: str, others: TermChoice = _NONE) -> ChosenTerms:
        """A kind of table beside the vectors and the `others`' own and prior, with the best weight and decay."""
        decays = self._neighbours.history_decays
        plain = others._replace(table=name, decay=decays[0])
        best = self._climb([plain._replace(table_weight=weight) for weight in sorted(self._neighbours.weights)])
        return self._best(best.choice._replace(decay=decay) for decay in decays)

    def _tables_beside(self, others: TermChoice) -> list[ChosenTerms]:
        """The first table beside the `others`' own, and each other table that is better with its weight and decay."""
        found = list[ChosenTerms]()
        for name in self._fitter.tables():
            if found:
                first = found[0]
                other = self._measured(first.choice._replace(table=name))
                if mean(other.values.metric) <= mean(first.values.metric):
                    continue
            found.append(self.table_beside(name, others))
        return found

    def _with_half_life(self, chosen: ChosenTerms) -> ChosenTerms:
        """Lets newer training events weigh more in the table; item-kNN has no ages."""
        if chosen.choice.table in ("", "item_knn"):
            return chosen
        half_lives = self._neighbours.half_lives_days
        return _best_if_it_gains(
            [chosen, *(self._measured(chosen.choice._replace(half_life_days=one)) for one in half_lives)]
        )

    def _climb(self, choices: Sequence[TermChoice]) -> ChosenTerms:
        """The best of choices in a row, if one peak is between falling sides: measures from the middle upwards."""
        place = len(choices) // 2
        here = self._measured(choices[place])
        for step in (-1, 1):
            while 0 <= place + step < len(choices):
                there = self._measured(choices[place + step])
                if mean(there.values.metric) <= mean(here.values.metric):
                    break
                place, here = place + step, there
        return here

    def _with_own(self, chosen: ChosenTerms) -> ChosenTerms:
        """Adds the history's own products; to no use if they are excluded."""
        settings = self._own
        if self._excludes_seen or not settings.weights:
            return chosen
        plain = chosen.choice._replace(own_decay=settings.decays[0])
        best = self._climb([plain._replace(own_weight=weight) for weight in sorted(settings.weights)])
        options = [self._best(best.choice._replace(own_decay=decay) for decay in settings.decays)]
        return _best_if_it_gains([chosen, *options])

    def _with_prior(self, chosen: ChosenTerms) -> ChosenTerms:
        options = [
            self._best(chosen.choice._replace(prior=name, prior_weight=weight) for weight in self._prior_weights)
            for name in PRIORS
            if self._prior_weights
        ]
        # the best of six options gains one standard error by chance too often
        return _best_if_it_gains([chosen, *options], errors=2.0)

    def _best(self, choices: Iterable[TermChoice]) -> ChosenTerms:
        return max(map(self._measured, choices), key=lambda one: mean(one.values.metric))

    def _measured(self, choice: TermChoice) -> ChosenTerms:
        if choice not in self._known:
            self._known[choice] = self._measure(choice)
        return ChosenTerms(choice, self._known[choice])


def _best_if_it_gains(options: list[ChosenTerms], errors: float = 1.0) -> ChosenTerms:
    """The best of the options if it gains more than so many standard errors over the first; else the first, simplest.

    Only options that keep the first one's recall@100 are compared.
    """
    simplest = options[0]
    keeping = [one for one in options if keeps_recall(one.values, simplest.values)]
    best = max(keeping, key=lambda one: mean(one.values.metric))
    return best if gains(best.values.metric, simplest.values.metric, errors) else simplest
