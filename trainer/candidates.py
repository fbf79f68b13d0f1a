"""Two kinds of model for two kinds of shop: each is fitted, and validation chooses.

Where buyers take few products each, a softmax over the catalogue learns most; where they take many and come again, it
overfits, and a linear autoencoder in closed form does better. Where the two are as good, the linear one is taken: it is
the simpler, it is not the best of several epochs, and it places new products better (the rule of one standard error:
Breiman et al., Classification and Regression Trees, 1984, 3.4.3).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer import evaluate, linear
from trainer.alike import alike
from trainer.baselines import MOST_PAIRS, item_pairs
from trainer.batches import Sampler
from trainer.config import Config
from trainer.dataset import Events
from trainer.model import ItemFeatures, Sizes, TwoTower, folded
from trainer.progress import Say
from trainer.split import Cases, Int64, sample, trained_products
from trainer.train import Fitted, fit
from twotower.events import EventSchema

# what an untrained product takes of the rows of those that read alike, and how much more the nearer ones count: of 15
# pairs the best on Online Retail and nearly so on Beauty, by the cosine to true vectors of products left out
_PART_OF_ALIKE, _SHARPNESS = 0.5, 8.0


class Chosen(NamedTuple):
    """The kind of model that is taken, its weights, what it takes to fit it again, and what there is to tell of it.

    `epochs` are those of the softmax, `choice` is the linear one's; `pairs` are the softmax's training pairs.
    """

    kind: str
    weights: dict[str, Tensor]
    pairs: int
    epochs: int
    choice: linear.Choice | None
    facts: dict[str, Any]


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
    say: Say

    def new_model(self, kind: str) -> TwoTower:
        """The untrained towers, drawn by the seed. The linear model is of one head."""
        torch.manual_seed(self.config.seed)
        heads = 1 if kind == "linear" else self.config.model.head_count
        return TwoTower(self.sizes, self.config.model, self.config.training.temperature, heads)

    def choose(self, events: Events, stop: Int64, cases: Cases, folder: Path) -> Chosen:
        """Fits what `training.start` asks for on the events before `stop` [buyers], and takes what validates best."""
        start, metric = self.config.training.start, self.config.evaluation.metric
        pairs, scores = self.sampler(events, stop).pairs, {}
        best: linear.Choice | None = None
        plain = np.empty(0)
        if start == "linear" or (start == "auto" and len(cases) and self._affordable(events, stop)):
            best, plain = self._choose_linear(events, stop, cases)
            scores["linear"] = _mean(plain)
            self.say(
                f"linear: validation {metric} {scores['linear']:.4f}, half-life {best.half_life_days:g} days, "
                f"trend {best.trend:g}, trust in content {best.trust:g}"
            )
        fitted: Fitted | None = None
        if start != "linear":
            fitted = self.softmax(events, stop, folder, "", cases)
            if len(cases):
                scores["softmax"] = max(record["validation"] for record in fitted.curve)
        facts = {
            "candidates": scores,
            "curve": fitted.curve if fitted else [],
            "best_epoch": fitted.best_epoch if fitted else 0,
            "linear": best._asdict() if best else None,
        }
        if best and (not fitted or self._is_as_good(plain, fitted, events, stop, cases)):
            weights = self.closed_form(events, stop, best).state_dict()
            return Chosen("linear", weights, pairs, 0, best, facts | {"kind": "linear"})
        assert fitted is not None
        return Chosen("softmax", fitted.weights, pairs, fitted.best_epoch, best, facts | {"kind": "softmax"})

    def _is_as_good(
        self, plain: NDArray[np.float64], fitted: Fitted, events: Events, stop: Int64, cases: Cases
    ) -> bool:
        """Whether the linear model, of which each case's metric is `plain`, is to be taken before the softmax."""
        more = self._values(self.as_served(fitted.weights, events, stop), events, cases) - plain
        gain, error = _mean(more), float(more.std(ddof=1) / np.sqrt(len(more))) if len(more) > 1 else 0.0
        taken = gain <= error
        why = "the better one" if gain < 0 else "taken" if taken else "not taken"
        self.say(f"the linear model is {why}: the softmax gains {gain:.4f}, one standard error is {error:.4f}")
        return taken

    def again(
        self, chosen: Chosen, name: str, events: Events, stop: Int64, folder: Path
    ) -> tuple[dict[str, Tensor], list[dict[str, float]]]:
        """Weights of the chosen kind fitted to other events, and the training curve."""
        if chosen.kind == "linear":
            assert chosen.choice is not None
            return self.closed_form(events, stop, chosen.choice).state_dict(), []
        fitted = self.softmax(events, stop, folder, f"{name}-", epochs=chosen.epochs)
        return fitted.weights, fitted.curve

    def softmax(
        self, events: Events, stop: Int64, folder: Path, name: str, cases: Cases | None = None, epochs: int = 0
    ) -> Fitted:
        """Trains for as many `epochs` (0 = what is set), the best of which `cases` decide where there are any."""
        model = self.new_model("softmax").to(self.device)
        sampler = self.sampler(events, stop)

        def validate(model: TwoTower) -> float:
            return self._validate(self.as_served(model.state_dict(), events, stop), events, cases) if cases else 0.0

        self.say(f"training on {sampler.pairs:,} pairs, {self.device.type}, dimension {self.config.model.dimension}")
        return fit(
            model, self.features, sampler, self.config, folder, f"{name}{self.fingerprint}",
            titles=self.titles, epochs=epochs, validate=validate if cases else None, say=self.say,
        )  # fmt: skip

    def closed_form(
        self, events: Events, stop: Int64, choice: linear.Choice, placement: linear.Placement | None = None
    ) -> TwoTower:
        """The linear model of the events before `stop`."""
        model = self.new_model("linear").to(self.device)
        linear.fill(model, placement or self._place(events, stop), choice)
        return model

    def trained(self, events: Events, stop: Int64) -> NDArray[np.bool_]:
        """The products [N] that a training up to `stop` can place: those in a (history, next product) pair."""
        return trained_products(events, stop, self.sizes.products, least=2)

    def served(self, kind: str, weights: dict[str, Tensor], events: Events, stop: Int64) -> dict[str, Tensor]:
        """Weights as services need them: see `model.folded`. The linear model has placed every product already; beside
        the softmax's, a product that was not trained gets part of the rows of those that read alike."""
        if kind == "linear":
            return folded(weights, self.features, torch.ones(self.sizes.products, dtype=torch.bool))
        trained = self.trained(events, stop)
        made, rows = folded(weights, self.features, torch.from_numpy(trained)), weights["item.product.weight"][1:].cpu()
        new = np.flatnonzero(~trained)
        if len(rows) and len(new):
            text = linear.unit(self.features.text.cpu().numpy())
            near = alike(text, new, np.flatnonzero(trained), [_SHARPNESS], self.config.seed)[0]
            part = _PART_OF_ALIKE * torch.from_numpy(near @ rows.numpy())
            made["item.product.weight"][1 + torch.from_numpy(new)] += part.to(made["item.product.weight"].device)
        return made

    def as_served(self, weights: dict[str, Tensor], events: Events, stop: Int64) -> TwoTower:
        """The softmax of these weights as services will have it: so it is validated."""
        model = self.new_model("softmax").to(self.device)
        model.load_state_dict(self.served("softmax", weights, events, stop))
        return model

    def sampler(self, events: Events, stop: Int64) -> Sampler:
        """The batches of a training on the events before `stop`."""
        settings = self.config.training
        return Sampler(
            events, stop, self.sizes.products, np.array([0.0, *self.schema.weights.values()], np.float32),
            longest=self.config.model.max_history, batch_pairs=settings.batch_pairs,
            random_negatives=settings.random_negatives, full_softmax=settings.full_softmax,
            weight_power=settings.event_weight_power, repeat_targets=settings.repeat_targets, seed=self.config.seed,
        )  # fmt: skip

    def _affordable(self, events: Events, stop: Int64) -> bool:
        pairs = item_pairs(events, stop, self.sizes.products)
        if pairs > MOST_PAIRS:
            self.say(f"linear is left out: up to {pairs:,} pairs of products, the limit is {MOST_PAIRS:,}")
        return pairs <= MOST_PAIRS

    def _place(self, events: Events, stop: Int64) -> linear.Placement:
        settings, products = self.config.linear, self.sizes.products
        dimension = self.config.model.dimension - linear.BIASES
        vectors = linear.item_vectors(events, stop, products, dimension, settings, self.config.seed)
        trend = linear.trends(events, stop, products, settings.trend_half_life_days)
        vectors[~self.trained(events, stop)] = 0
        return linear.Placement(vectors, trend, self.features, self.config.seed)

    def _choose_linear(self, events: Events, stop: Int64, cases: Cases) -> tuple[linear.Choice, NDArray[np.float64]]:
        placement = self._place(events, stop)
        some = sample(cases, self.config.linear.validation_buyers, self.config.seed)
        settings = self.config.linear
        if self.config.model.buyer_tower == "weighted_average":  # a buyer vector without a constant
            settings = settings.model_copy(update={"trends": [0.0], "trusts": [1.0]})
        scores: dict[linear.Choice, float] = {}

        def score(choice: linear.Choice) -> float:
            if choice not in scores:
                scores[choice] = self._validate(self.closed_form(events, stop, choice, placement), events, some)
            return scores[choice]

        choice, _ = linear.choose(settings, score)
        return choice, self._values(self.closed_form(events, stop, choice, placement), events, cases)

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
