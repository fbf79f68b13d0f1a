"""A run: its prepared data, and the workspace in which its stages leave their work."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from trainer.config.schema import Config
from trainer.data.dataset import Dataset
from trainer.data.events import Events
from trainer.data.repeats import Repeats
from trainer.data.split import Cases, Split, sample
from trainer.errors import DataError
from trainer.evaluate import baselines, ranking
from trainer.fit.content_trust import ContentTrust
from trainer.fit.fitter import Fitter
from trainer.fit.softmax.training import pick_device
from trainer.fit.text_neighbours import TextNeighbours
from trainer.model.inputs import ItemFeatures, Sizes
from trainer.model.terms import Terms, read_terms
from trainer.model.towers import TwoTower, load_towers
from trainer.release.locks import work_folder
from trainer.stages.warm import WarmStart
from twotower.arrays import Int64, Mask, UInt64
from twotower.artifact.fsync import write_atomically
from twotower.artifact.layout import Layout, VersionLayout
from twotower.artifact.manifest import Fusion
from twotower.artifact.vocab import Vocab
from twotower.events import EventSchema
from twotower.history import BuyerInputs


@dataclass(frozen=True)
class Workspace:
    """The folder of one run's work: what a stage leaves for the next. A digest of data and settings names it."""

    root: Path

    @property
    def version(self) -> VersionLayout:
        """The files that become part of a version, under the names that they have there."""
        return VersionLayout(self.root / "version")

    @property
    def tested(self) -> VersionLayout:
        """Weights and terms of the tested model, under the names that they have in a version."""
        return VersionLayout(self.root / "tested")

    # it names buyers, so it does not lie among the files that services read
    rejects = property(lambda self: self.root / "rejects.csv")
    checkpoints = property(lambda self: self.root / "checkpoints")
    tested_checkpoints = property(lambda self: self.root / "refit-tested")
    refit_checkpoints = property(lambda self: self.root / "refit")
    tested_fusion = property(lambda self: self.root / "tested_fusion.json")
    fusion = property(lambda self: self.root / "fusion.json")
    training = property(lambda self: self.root / "training.json")
    per_case = property(lambda self: self.root / "per_case.npz")
    index_spec = property(lambda self: self.root / "index.json")
    text_search = property(lambda self: self.root / "text_search.json")
    searches = property(lambda self: self.root / "searches.json")
    together = property(lambda self: self.root / "together.json")


@dataclass(frozen=True)
class Run:
    """The data of one run, checked and with text vectors, its configuration and its workspace.

    `events`: the events that the validated and the tested model may see (those of `data`, the past of the `hidden` [N]
    products removed); `split` refers to them. `repeats` and `trust`: what settled the configuration's `auto` for
    seen products and for descriptions. `neighbours`: by the texts that the encoder reads. `served`: the version that
    CURRENT named at the start; `warm` is that version if the training begins from it, and `scratch_reason` says why it
    could not.
    """

    config: Config
    layout: Layout
    workspace: Workspace
    fingerprint: str
    data: Dataset
    schema: EventSchema
    vocab: Vocab
    features: ItemFeatures
    titles: torch.Tensor | None
    neighbours: TextNeighbours
    encoder_name: str
    encoder_digest: str
    events: Events
    split: Split
    hidden: Mask
    repeats: Repeats
    trust: ContentTrust
    ties: UInt64
    served: str
    warm: WarmStart | None = None
    scratch_reason: str = ""

    @property
    def tested_stop(self) -> Int64:
        """The tested model and the baselines train on each buyer's events before this index [buyers]."""
        return self.split.train_stop if self.config.evaluation.protocol == "published" else self.split.test_stop


def forget(config: Config, layout: Layout, name: str) -> None:
    """Removes the workspace, so that the stages start from the beginning."""
    shutil.rmtree(open_workspace(config, layout, name).root, ignore_errors=True)


def open_workspace(config: Config, layout: Layout, name: str) -> Workspace:
    """The workspace of the run with this fingerprint, which may not exist yet."""
    return Workspace(work_folder(config, layout) / "runs" / name[:16])


def fitter_of(run: Run) -> Fitter:
    """Returns the fitter of the prepared data."""
    device, text, attributes = pick_device(run.config.device), run.features.text, run.features.attributes
    sizes = Sizes(
        text=text.shape[1],
        brands=len(set(run.vocab.brand.values())),
        categories=len(set(run.vocab.category.values())),
        products=len(run.data.products),
        attributes=int(attributes.max()) if attributes.numel() else 0,
        event_types=len(run.schema.names),
    )
    features = ItemFeatures(*(column.to(device) for column in run.features))
    titles = None if run.titles is None else run.titles.to(device)
    return Fitter(run.config, sizes, features, titles, run.neighbours, run.schema, device, run.fingerprint)


def load_model(run: Run, weights: Path) -> TwoTower:
    """Loads a fitted model for inference on the CPU from a file of weights that `train` wrote."""
    return load_towers(load_file(weights), run.config.model)


def load_terms(files: VersionLayout, fusion: Path) -> Terms:
    """Loads the terms that `train` wrote beside the weights."""
    return read_terms(files, Fusion.model_validate_json(fusion.read_bytes()))


def save_weights(weights: Mapping[str, torch.Tensor], path: Path) -> None:
    """Writes a safetensors file that every user may read."""
    with write_atomically(path) as temporary:
        save_file({name: value.detach().cpu().contiguous() for name, value in weights.items()}, temporary)
        temporary.chmod(0o644)  # safetensors lets the owner alone read


def some_histories(run: Run, limit: int, draw: np.random.Generator) -> BuyerInputs:
    """Draws at most `limit` buyers and returns their whole histories."""
    events, buyers = run.data.events, len(run.data.buyers)
    chosen = np.sort(draw.choice(buyers, min(buyers, limit), replace=False))
    cases = Cases(chosen, events.start[chosen], events.start[chosen + 1], events.start[chosen + 1])
    return ranking.history_inputs(events, cases, run.schema, run.config.model.max_history)


def sampled_test_cases(run: Run) -> Cases:
    """The test cases that are ranked: at most `evaluation.max_buyers`."""
    return sample(run.split.test, run.config.evaluation.max_buyers, run.config.seed)


def rank(run: Run, scorer: baselines.Scorer, cases: Cases, name: str, lists: bool = True) -> ranking.Ranks:
    """Ranks the targets of the cases; `name` is shown as progress."""
    exclude_seen = run.config.evaluation.excludes_seen
    return ranking.rank_targets(scorer, run.events, cases, run.ties, exclude_seen, name, lists=lists)


def require(path: Path, stage: str) -> None:
    """Raises DataError if the stage that writes this file has not run."""
    if not path.is_file():
        raise DataError(
            f"there is no {path.name} for this data and configuration: run `python -m trainer {stage}` first"
        )
