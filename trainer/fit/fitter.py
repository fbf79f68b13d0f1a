"""Fits the two kinds of model to the events of a training set."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from trainer.cluster.parts import open_engine
from trainer.config.schema import Config
from trainer.fit.linear.hyperparameters import LinearHyperparameters
from trainer.fit.linear.placement import Placement
from trainer.fit.linear.spectral import item_vectors
from trainer.fit.linear.towers import write_linear_model
from trainer.fit.linear.trend import BIASES, trends
from trainer.fit.softmax.on_ray import fit_on_ray
from trainer.fit.softmax.sampler import Sampler, SamplerSettings
from trainer.fit.softmax.step_loss import TrainingInputs
from trainer.fit.softmax.training import Curve, FittedSoftmax, fit_softmax
from trainer.fit.text_neighbours import TextNeighbours
from trainer.fit.training_set import TrainingSet
from trainer.model.inputs import ItemFeatures, Sizes
from trainer.model.towers import TwoTower, Weights
from trainer.native_memory import release
from twotower.events import EventSchema
from twotower.history import weights_by_code

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fitter:
    """Fits models of one shop; its fields are the same for every training set.

    `titles` [N, E] are the text vectors of the titles alone, or None if texts are not aligned to categories. A refit of
    the softmax begins with the weights `initial`, or with random ones.
    """

    config: Config
    sizes: Sizes
    features: ItemFeatures
    titles: Tensor | None
    neighbours: TextNeighbours
    schema: EventSchema
    device: torch.device
    fingerprint: str
    initial: Weights | None = None

    @property
    def head_dimension(self) -> int:
        """Numbers in one head of the softmax."""
        return self.config.model.dimension // self.config.model.head_count

    def new_model(self, *, heads: int = 0, dimension: int = 0) -> TwoTower:
        """Untrained towers, drawn from the seed; 0 takes the configured number of heads, or dimension."""
        torch.manual_seed(self.config.seed)
        settings = self.config.model
        if dimension:
            settings = settings.model_copy(update={"dimension": dimension})
        towers = TwoTower(self.sizes, settings, self.config.training.temperature, heads or self.config.model.head_count)
        return towers.to(self.device)

    def sampler(self, data: TrainingSet) -> Sampler:
        """The softmax's training batches."""
        settings = self.config.training
        sampler_settings = SamplerSettings(
            max_history=self.config.model.max_history,
            batch_pairs=settings.batch_pairs,
            random_negatives=settings.random_negatives,
            full_softmax=settings.full_softmax,
            weight_power=settings.event_weight_power,
            repeat_targets=settings.trains_on_repeats,
            seed=self.config.seed,
        )
        return Sampler(data, self.sizes.products, weights_by_code(self.schema), sampler_settings)

    def fit_softmax(
        self,
        data: TrainingSet,
        folder: Path,
        *,
        validate: Callable[[TwoTower], float] | None = None,
        watch: Callable[[Curve], None] | None = None,
    ) -> FittedSoftmax:
        """Trains the softmax, with checkpoints in `folder`; `validate` chooses the epoch, if given.

        `watch` is called with the curve after each epoch, and may end the training with an error: such a training
        stays in this process. Any other one is that of `ray_workers` workers if they are more than one.
        """
        return self._train(data, self.new_model(), folder, self.fingerprint, validate=validate, watch=watch)

    def refit_softmax(
        self, data: TrainingSet, folder: Path, name: str, epochs: int, *, one_head: bool = False
    ) -> FittedSoftmax:
        """Trains the softmax for so many epochs; with `one_head`, the single head that a blend takes.

        `name` separates the checkpoints of two refits in one folder.
        """
        model = self.new_model(heads=1, dimension=self.head_dimension) if one_head else self.new_model()
        if self.initial is not None:
            model.load_state_dict(self.initial)
        return self._train(data, model, folder, f"{name}-{self.fingerprint}", epochs=epochs)

    def _train(
        self,
        data: TrainingSet,
        model: TwoTower,
        folder: Path,
        fingerprint: str,
        *,
        epochs: int = 0,
        validate: Callable[[TwoTower], float] | None = None,
        watch: Callable[[Curve], None] | None = None,
    ) -> FittedSoftmax:
        release()  # what a linear candidate has freed
        inputs = TrainingInputs(self.features, self.sampler(data), self.config, self.titles)
        dimension = model.item.projection.out_features
        log.info(f"training on {inputs.sampler.pairs:,} pairs, {self.device.type}, dimension {dimension}")
        if self.config.ray_workers > 1 and watch is None:
            return fit_on_ray(model, inputs, data, folder, fingerprint, epochs=epochs, validate=validate)
        return fit_softmax(model, inputs, folder, fingerprint, epochs=epochs, validate=validate, watch=watch)

    def place(self, data: TrainingSet) -> Placement:
        """The linear model's item vectors and trends."""
        settings, products, seed = self.config.linear, self.sizes.products, self.config.seed
        engine = open_engine(self.config.ray) if self.config.ray else None
        vectors = item_vectors(data, products, self.config.model.dimension - BIASES, settings, seed, engine)
        trend = trends(data, products, settings.trend_half_life_days)
        vectors[~data.trained_products(products)] = 0
        return Placement(vectors, trend, self.features, self.neighbours, self.titles)

    def place_beside_softmax(self, placement: Placement) -> Placement:
        """The placement narrowed to all heads of a vector but the last, which a blend leaves to the softmax."""
        return placement.narrow(self.config.model.dimension - self.head_dimension - BIASES)

    def fit_linear(self, placement: Placement, choice: LinearHyperparameters) -> TwoTower:
        """The linear model in closed form, with one head."""
        model = self.new_model(heads=1, dimension=placement.dimension + BIASES)
        write_linear_model(model, placement, choice)
        return model
