"""A warm start: a training that begins from the served version's weights and keeps what its training chose.

It fits the served kind of model, with its terms and hyperparameters, on all events: one pass from the served weights
instead of the search and many passes from random ones. Its test are the newest events of buyers since the served
version, which neither that version nor the tested model has seen. The gate judges it on them as ever; if there are too
few, or if the gate refuses, a training from scratch follows.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from safetensors.torch import load_file

from trainer.config.schema import Config
from trainer.errors import NothingNew, NoWarmStart
from trainer.evaluate.served import find_served
from trainer.fit.fitter import Fitter
from trainer.fit.linear.hyperparameters import LinearHyperparameters
from trainer.fit.selection import Recipe
from trainer.fit.training_set import TrainingSet
from trainer.fit.warm_start import Moves, initial_weights
from trainer.model.terms import TermChoice
from trainer.model.towers import Weights
from twotower.arrays import Int64
from twotower.artifact.catalogue import read_product_rows
from twotower.artifact.layout import EncoderLayout, Layout
from twotower.artifact.version import Version, verify
from twotower.artifact.vocab import Vocab
from twotower.errors import CorruptArtifact

# settings that the served version settled, and that a warm training keeps
_SETTLED = {"encoder": ("descriptions",), "evaluation": ("exclude_seen",), "training": ("repeat_targets",)}


@dataclass(frozen=True)
class WarmStart:
    """The served version, and what its training recorded. Every file of it was hashed."""

    version: Version
    training: dict[str, Any]

    @property
    def newest_ms(self) -> int:
        """The time of its newest training event."""
        newest = self.version.manifest.newest_event_ms
        assert newest is not None
        return newest

    @property
    def encoder(self) -> EncoderLayout:
        return self.version.encoder

    def settle(self, config: Config) -> Config:
        """Replaces every `auto` that the served version has settled."""
        settled = self.version.manifest.configuration
        for section, names in _SETTLED.items():
            now = getattr(config, section)
            kept = {name: settled[section][name] for name in names if getattr(now, name) == "auto"}
            config = config.model_copy(update={section: now.model_copy(update=kept)})
        return config

    def recipe(self, epochs: int) -> Recipe:
        """What the served model's training chose."""
        linear = self.training["linear"]
        return Recipe(
            vectors=self.training["vectors"],
            choice=TermChoice(**self.training["terms"]),
            epochs=epochs,
            linear=LinearHyperparameters(**linear) if linear else None,
            share=self.training["share"],
        )

    def initial(self, fitter: Fitter, data: TrainingSet, vocab: Vocab, ids: list[str]) -> Weights | None:
        """The weights that the softmax begins with; None if the served vectors have no softmax."""
        vectors = self.training["vectors"]
        if vectors == "linear":
            return None
        row_of = read_product_rows(self.version.layout.ids)
        known: Int64 = np.array([row_of.get(ident, -1) for ident in ids], np.int64)
        taken = data.trained_products(len(ids))
        moves = Moves(known, taken, Vocab.load(self.version.layout.vocab), vocab)
        served = load_file(self.version.layout.weights)
        model = fitter.config.model
        return initial_weights(served, vectors, moves, fitter.sizes, fitter.features, fitter.neighbours, model)


def read_warm_start(layout: Layout, config: Config) -> WarmStart:
    """The served version as a start. Raises NoWarmStart, with the reason, if a training cannot begin from it."""
    served = find_served(layout)
    if served is None:
        raise NoWarmStart("nothing is served")
    if served.version is None:
        raise NoWarmStart(f"the served version {served.name} cannot be used: {served.problem}")
    try:
        verify(served.version)
    except CorruptArtifact as error:
        raise NoWarmStart(f"the served version {served.name} is damaged: {error}") from None
    if served.version.manifest.newest_event_ms is None:
        raise NoWarmStart(f"{served.name} was trained on no event")
    if config.evaluation.hidden_products:
        raise NoWarmStart("evaluation.hidden_products: the served weights know the hidden products")
    if changed := _changed(config, served.version):
        raise NoWarmStart(f"{', '.join(changed)}: not as {served.name} was trained")
    metrics = json.loads(served.version.layout.metrics.read_text(encoding="utf-8"))
    start = config.training.start
    if start != "auto" and start != metrics["training"]["vectors"]:
        raise NoWarmStart(f"training.start={start}, and {served.name} has {metrics['training']['vectors']}")
    return WarmStart(served.version, metrics["training"])


def check_new_events(cases: int, served: str, minimum: int) -> None:
    """Raises NoWarmStart if the gate could not judge the trained model."""
    if cases < minimum:
        raise NoWarmStart(
            f"only {cases} buyers have an event since {served} to test on, evaluation.min_test_buyers is {minimum}"
        )


def check_anything_new(newest_ms: int, warm: WarmStart) -> None:
    """Raises NothingNew if no event is newer than those of the served version."""
    if newest_ms <= warm.newest_ms:
        raise NothingNew(f"no event is newer than those of the served version {warm.version.name}")


def _changed(config: Config, served: Version) -> list[str]:
    """The settings on which the weights depend that are not those of the served version."""
    trained = served.manifest.configuration
    changed = []
    for section in ("encoder", "model"):
        now = getattr(config, section).model_dump()
        changed += [
            f"{section}.{name}"
            for name, value in now.items()
            if value != trained[section][name] and not (value == "auto" and name in _SETTLED.get(section, ()))
        ]
    if config.data.event_weights != served.manifest.event_weights:
        changed.append("data.event_weights")
    return changed
