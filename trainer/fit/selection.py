"""Two kinds of model for two kinds of shop, and a blend of them: each is fitted, and validation chooses.

Where buyers take few products each, a softmax over the catalogue learns most; where they take many and come again, it
overfits, and a linear autoencoder in closed form does better. Where no other is better, the linear one is taken: it is
the simpler, it is not the best of several epochs, and it places new products better (the rule of one standard error:
Breiman et al., Classification and Regression Trees, 1984, 3.4.3).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.config.schema import Config
from trainer.data.events import Events
from trainer.data.matrix import MOST_PAIRS, item_pairs
from trainer.data.split import Cases, sample, trained_products
from trainer.evaluate import ranking as evaluate
from trainer.fit.blend import Weights, blend, last_head
from trainer.fit.linear import placement as linear
from trainer.fit.linear import towers
from trainer.fit.linear.spectral import item_vectors, unit
from trainer.fit.linear.towers import Choice, fill
from trainer.fit.linear.trend import BIASES, trends
from trainer.fit.sampler import Sampler
from trainer.fit.softmax import Fitted, fit
from trainer.fit.text_neighbors import PART, SHARPNESS, alike
from trainer.model.inputs import ItemFeatures, Sizes
from trainer.model.towers import TwoTower, folded
from twotower.arrays import Int64
from twotower.events import EventSchema
from twotower.history import weights_by_code

log = logging.getLogger(__name__)


class Chosen(NamedTuple):
    """The kind of model that is taken, its weights as services need them, and what it takes to fit it again.

    `epochs` are those of the softmax, `choice` and `told` are the linear model's and `share` its part of a blend;
    `pairs` are the softmax's training pairs; `facts` are what there is to tell.
    """

    kind: str
    weights: Weights
    pairs: int
    epochs: int
    choice: Choice | None
    told: linear.Told | None
    share: float
    facts: dict[str, Any]


class Candidate(NamedTuple):
    """A fitted model as services need it, the configured metric of each validation case, and how a linear model was
    told where new products stand."""

    weights: Weights
    values: NDArray[np.float64]
    told: linear.Told | None = None


class Again(NamedTuple):
    """Weights of a kind that was chosen, fitted to other events: as services need them, the training curve, and how a
    linear model was told where new products stand."""

    weights: Weights
    curve: list[dict[str, float]]
    told: linear.Told | None


@dataclass(frozen=True)
class Fitter:
    """Fits models of one shop: its products' features and sizes, and everything that is set."""

    config: Config
    sizes: Sizes
    features: ItemFeatures
    titles: Tensor | None
    schema: EventSchema
    ties: NDArray[np.uint64]
    device: torch.device
    fingerprint: str

    def new_model(self, kind: str, dimension: int = 0) -> TwoTower:
        """The untrained towers, drawn by the seed. The linear model is of one head, and so is one of fewer dimensions
        than are set."""
        torch.manual_seed(self.config.seed)
        settings, heads = self.config.model, self.config.model.head_count
        if dimension:
            settings = settings.model_copy(update={"dimension": dimension})
        if dimension or kind == "linear":
            heads = 1
        return TwoTower(self.sizes, settings, self.config.training.temperature, heads)

    def choose(self, events: Events, stop: Int64, cases: Cases, folder: Path) -> Chosen:
        """Fits what `training.start` asks for on the events before `stop` [buyers], and takes what validates best."""
        start, found = self.config.training.start, dict[str, Candidate]()
        placement: linear.Placement | None = None
        choice: Choice | None = None
        fitted: Fitted | None = None
        share = 0.0
        if start in ("linear", "blend") or (start == "auto" and len(cases) and self._affordable(events, stop)):
            placement = self._place(events, stop)
            choice, found["linear"] = self._choose_linear(placement, events, stop, cases)
        if start != "linear":
            fitted = self.softmax(events, stop, folder, "", cases)
            weights = self.served("softmax", fitted.weights, events, stop)
            found["softmax"] = Candidate(weights, self._values(self._loaded("softmax", weights), events, cases))
        if placement and choice and fitted and self.config.can_blend:
            narrow = self._narrow(placement, choice, events, stop)
            softmax = self.served("softmax", last_head(fitted.weights), events, stop)
            share, found["blend"] = self._choose_blend(narrow, softmax, events, cases)
        kind = start if start != "auto" else self._best({name: one.values for name, one in found.items()})
        pairs, epochs = self.sampler(events, stop).pairs, fitted.best_epoch if fitted else 0
        facts = {
            "kind": kind,
            "candidates": {name: _mean(one.values) for name, one in found.items()} if len(cases) else {},
            "curve": fitted.curve if fitted else [],
            "best_epoch": epochs,
            "linear": choice._asdict() if choice else None,
            "share": share,
        }
        return Chosen(kind, found[kind].weights, pairs, epochs, choice, found[kind].told, share, facts)

    def _best(self, values: Mapping[str, NDArray[np.float64]]) -> str:
        """The kind to take, by the metric of each case [C]: linear, unless a better one gains over a standard error."""
        rival = max((name for name in values if name != "linear"), key=lambda name: _mean(values[name]), default="")
        if "linear" not in values or not rival:
            return rival or "linear"
        more = values[rival] - values["linear"]
        gain, error = _mean(more), float(more.std(ddof=1) / np.sqrt(len(more))) if len(more) > 1 else 0.0
        taken = gain <= error
        why = "the better one" if gain < 0 else "taken" if taken else "not taken"
        log.info(f"the linear model is {why}: the {rival} gains {gain:.4f}, one standard error is {error:.4f}")
        return "linear" if taken else rival

    def again(self, chosen: Chosen, name: str, events: Events, stop: Int64, folder: Path) -> Again:
        """The chosen kind fitted to other events."""
        if chosen.kind == "softmax":
            fitted = self.softmax(events, stop, folder, f"{name}-", epochs=chosen.epochs)
            return Again(self.served("softmax", fitted.weights, events, stop), fitted.curve, None)
        assert chosen.choice is not None
        placement = self._place(events, stop)
        if chosen.kind == "linear":
            weights = self.closed_form(placement, chosen.choice).state_dict()
            return Again(self.served("linear", weights, events, stop), [], placement.told)
        fitted = self.softmax(events, stop, folder, f"{name}-", epochs=chosen.epochs, dimension=self._head)
        softmax = self.served("softmax", fitted.weights, events, stop)
        narrow, told = self._narrow(placement, chosen.choice, events, stop)
        return Again(blend(narrow, softmax, chosen.share), fitted.curve, told)

    def softmax(
        self, events: Events, stop: Int64, folder: Path, name: str, cases: Cases | None = None, epochs: int = 0,
        dimension: int = 0,
    ) -> Fitted:  # fmt: skip
        """Trains for as many `epochs` (0 = what is set), the best of which `cases` decide where there are any; with a
        `dimension`, a model of one head of so many."""
        model = self.new_model("softmax", dimension).to(self.device)
        sampler = self.sampler(events, stop)

        def validate(model: TwoTower) -> float:
            return self._validate(self.as_served(model.state_dict(), events, stop), events, cases) if cases else 0.0

        log.info(
            f"training on {sampler.pairs:,} pairs, {self.device.type}, "
            f"dimension {dimension or self.config.model.dimension}"
        )
        return fit(
            model, self.features, sampler, self.config, folder, f"{name}{self.fingerprint}",
            titles=self.titles, epochs=epochs, validate=validate if cases else None,
        )  # fmt: skip

    def closed_form(self, placement: linear.Placement, choice: Choice) -> TwoTower:
        """The linear model of what is placed."""
        model = self.new_model("linear", placement.dimension + BIASES).to(self.device)
        fill(model, placement, choice)
        return model

    def trained(self, events: Events, stop: Int64) -> NDArray[np.bool_]:
        """The products [N] that a training up to `stop` can place: those in a (history, next product) pair."""
        return trained_products(events, stop, self.sizes.products, min_events=2)

    def served(self, kind: str, weights: Weights, events: Events, stop: Int64) -> Weights:
        """Weights as services need them: see `model.folded`. The linear model has placed every product already; beside
        the softmax's, a product that was not trained gets part of the rows of those that read alike."""
        if kind == "linear":
            return folded(weights, self.features, torch.ones(self.sizes.products, dtype=torch.bool))
        trained = self.trained(events, stop)
        made, rows = folded(weights, self.features, torch.from_numpy(trained)), weights["item.product.weight"][1:].cpu()
        new = np.flatnonzero(~trained)
        if len(rows) and len(new):
            text = unit(self.features.text.cpu().numpy())
            near = alike(text, new, np.flatnonzero(trained), [SHARPNESS], self.config.seed)[0]
            part = PART * torch.from_numpy(near @ rows.numpy())
            made["item.product.weight"][1 + torch.from_numpy(new)] += part.to(made["item.product.weight"].device)
        return made

    def as_served(self, weights: Weights, events: Events, stop: Int64) -> TwoTower:
        """The softmax of these weights as services will have it: so it is validated."""
        return self._loaded("softmax", self.served("softmax", weights, events, stop))

    def _loaded(self, kind: str, weights: Weights) -> TwoTower:
        model = self.new_model(kind).to(self.device)
        model.load_state_dict(weights)
        return model.eval()  # the heads of a blend are normalised as they are served, not as they are trained

    def sampler(self, events: Events, stop: Int64) -> Sampler:
        """The batches of a training on the events before `stop`."""
        settings = self.config.training
        return Sampler(
            events, stop, self.sizes.products, weights_by_code(self.schema),
            longest=self.config.model.max_history, batch_pairs=settings.batch_pairs,
            random_negatives=settings.random_negatives, full_softmax=settings.full_softmax,
            weight_power=settings.event_weight_power, repeat_targets=settings.repeat_targets, seed=self.config.seed,
        )  # fmt: skip

    def _affordable(self, events: Events, stop: Int64) -> bool:
        pairs = item_pairs(events, stop, self.sizes.products)
        if pairs > MOST_PAIRS:
            log.info(f"linear is left out: up to {pairs:,} pairs of products, the limit is {MOST_PAIRS:,}")
        return pairs <= MOST_PAIRS

    def _place(self, events: Events, stop: Int64) -> linear.Placement:
        settings, products = self.config.linear, self.sizes.products
        dimension = self.config.model.dimension - BIASES
        vectors = item_vectors(events, stop, products, dimension, settings, self.config.seed)
        trend = trends(events, stop, products, settings.trend_half_life_days)
        vectors[~self.trained(events, stop)] = 0
        return linear.Placement(vectors, trend, self.features, self.config.seed, self.titles)

    def _choose_linear(
        self, placement: linear.Placement, events: Events, stop: Int64, cases: Cases
    ) -> tuple[Choice, Candidate]:
        """What validates best on some of the buyers, and the linear model of it."""
        some = sample(cases, self.config.linear.validation_buyers, self.config.seed)
        settings = self.config.linear
        if self.config.model.buyer_tower == "weighted_average":  # a buyer vector without a constant
            settings = settings.model_copy(update={"trend_weights": [0.0], "cold_lengths": [1.0]})
        scores: dict[Choice, float] = {}

        def score(choice: Choice) -> float:
            if choice not in scores:
                scores[choice] = self._validate(self.closed_form(placement, choice), events, some)
            return scores[choice]

        choice, _ = towers.choose(settings, score)
        model = self.closed_form(placement, choice)
        values = self._values(model, events, cases)
        log.info(
            f"linear: validation {self.config.evaluation.metric} {_mean(values):.4f}, half-life "
            f"{choice.half_life_days:g} days, trend {choice.trend:g}, trust in content {choice.trust:g}"
        )
        return choice, Candidate(self.served("linear", model.state_dict(), events, stop), values, placement.told)

    @property
    def _head(self) -> int:
        """Numbers of a head."""
        return self.config.model.dimension // self.config.model.head_count

    def _narrow(
        self, placement: linear.Placement, choice: Choice, events: Events, stop: Int64
    ) -> tuple[Weights, linear.Told]:
        """The linear model that leaves room for a head of the softmax, as services need it, and how it was told where
        new products stand."""
        narrow = placement.leading(self.config.model.dimension - self._head - BIASES)
        return self.served("linear", self.closed_form(narrow, choice).state_dict(), events, stop), narrow.told

    def _choose_blend(
        self, narrow: tuple[Weights, linear.Told], softmax: Weights, events: Events, cases: Cases
    ) -> tuple[float, Candidate]:
        """The linear model's share that validates best, and that blend."""
        leading, told = narrow
        found = {}
        for share in self.config.linear.blend_weights:
            weights = blend(leading, softmax, share)
            found[share] = Candidate(weights, self._values(self._loaded("blend", weights), events, cases), told)
        share = max(found, key=lambda one: _mean(found[one].values))
        score = _mean(found[share].values)
        log.info(
            f"blend: validation {self.config.evaluation.metric} {score:.4f}, of which {share:g} is the linear model"
        )
        return share, found[share]

    def _validate(self, model: TwoTower, events: Events, cases: Cases) -> float:
        return _mean(self._values(model, events, cases))

    def _values(self, model: TwoTower, events: Events, cases: Cases) -> NDArray[np.float64]:
        """The configured metric of each case that has a target."""
        settings = self.config.evaluation
        scorer = evaluate.model_scorer(model, self.features, events, self.schema, self.config.model.max_history)
        ranks = evaluate.rank_targets(
            scorer, events, cases, self.ties, settings.exclude_seen, "validating", lists=False
        )
        return evaluate.case_metrics(ranks)[settings.metric]


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if len(values) else 0.0
