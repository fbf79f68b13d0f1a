"""The folder where a run's stages leave their work."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from trainer.config.schema import Config
from trainer.data.dataset import Dataset
from trainer.data.events import Events
from trainer.data.split import Cases, Split, sample
from trainer.errors import DataError
from trainer.evaluate import baselines
from trainer.evaluate import ranking as evaluate
from trainer.fit.selection import Fitter
from trainer.fit.softmax import pick_device
from trainer.model.inputs import ItemFeatures, Sizes
from trainer.model.towers import TwoTower
from trainer.release.locks import work_folder
from twotower.artifact.layout import Layout
from twotower.artifact.vocab import Vocab
from twotower.events import EventSchema
from twotower.history import BuyerInputs


def sampled_test_cases(run: Prepared) -> Cases:
    return sample(run.split.test, run.config.evaluation.max_buyers, run.config.seed)


def rank(run: Prepared, scorer: baselines.Scorer, cases: Cases, name: str, lists: bool = True) -> evaluate.Ranks:
    exclude_seen = run.config.evaluation.exclude_seen
    return evaluate.rank_targets(scorer, run.events, cases, run.ties, exclude_seen, name, lists=lists)


@dataclass(frozen=True)
class RunFolder:
    """Every path of one run's work: what a stage leaves for the next. Named by data and configuration."""

    root: Path

    checkpoints = property(lambda self: self.root / "checkpoints")
    tested_checkpoints = property(lambda self: self.root / "refit-tested")
    refit_checkpoints = property(lambda self: self.root / "refit")
    evaluated = property(lambda self: self.root / "evaluated.safetensors")
    final = property(lambda self: self.root / "model.safetensors")
    training = property(lambda self: self.root / "training.json")
    metrics = property(lambda self: self.root / "metrics.json")
    per_case = property(lambda self: self.root / "per_case.npz")
    rejects = property(lambda self: self.root / "rejects.csv")
    item_tower = property(lambda self: self.root / "item_tower.onnx")
    buyer_tower = property(lambda self: self.root / "buyer_tower.onnx")
    vocab = property(lambda self: self.root / "vocab.json")
    embeddings = property(lambda self: self.root / "product_embeddings.npy")
    ids = property(lambda self: self.root / "product_ids.npy")
    index = property(lambda self: self.root / "product_index.faiss")
    nearest = property(lambda self: self.root / "nearest_products.onnx")
    index_spec = property(lambda self: self.root / "index.json")
    text_embeddings = property(lambda self: self.root / "text_embeddings.npy")
    text_index = property(lambda self: self.root / "text_index.faiss")
    text_search = property(lambda self: self.root / "text_search.json")


@dataclass(frozen=True)
class Prepared:
    """Checked data, its text vectors, and where this run works.

    `events` are what the validated and the tested model may see, and what `split` refers to: those of `data`, less the
    past of the `hidden` [N] products. `served` is what CURRENT named when this began.
    """

    config: Config
    layout: Layout
    folder: RunFolder
    fingerprint: str
    data: Dataset
    schema: EventSchema
    vocab: Vocab
    features: ItemFeatures
    titles: torch.Tensor | None
    encoder_name: str
    encoder_digest: str
    events: Events
    split: Split
    hidden: NDArray[np.bool_]
    ties: NDArray[np.uint64]
    served: str


def forget(config: Config, layout: Layout, name: str) -> None:
    """Removes what earlier stages left for this data and configuration, so that they start anew."""
    shutil.rmtree(run_folder(config, layout, name).root, ignore_errors=True)


def run_folder(config: Config, layout: Layout, name: str) -> RunFolder:
    return RunFolder(work_folder(config, layout) / "runs" / name[:16])


def fitter_of(run: Prepared) -> Fitter:
    """What fits models to the prepared data."""
    device, text, attributes = pick_device(run.config.device), run.features.text, run.features.attributes
    sizes = Sizes(
        text.shape[1], len(set(run.vocab.brand.values())), len(set(run.vocab.category.values())),
        len(run.data.products), int(attributes.max()) if attributes.numel() else 0, len(run.schema.names),
    )  # fmt: skip
    return Fitter(
        run.config, sizes, ItemFeatures(*(column.to(device) for column in run.features)),
        None if run.titles is None else run.titles.to(device), run.schema, run.ties, device, run.fingerprint,
    )  # fmt: skip


def load_model(run: Prepared, weights: Path) -> TwoTower:
    """A fitted model on the CPU, to be asked and not trained, from one of the files of `train`."""
    kind = json.loads(run.folder.training.read_text(encoding="utf-8"))["kind"]
    model = fitter_of(run).new_model(kind)
    model.load_state_dict(load_file(weights))
    return model.eval()


def some_histories(run: Prepared, limit: int, draw: np.random.Generator) -> BuyerInputs:
    """Whole histories of at most `limit` buyers, drawn at random."""
    events, buyers = run.data.events, len(run.data.buyers)
    chosen = np.sort(draw.choice(buyers, min(buyers, limit), replace=False))
    cases = Cases(chosen, events.start[chosen], events.start[chosen + 1], events.start[chosen + 1])
    return evaluate.history_inputs(events, cases, run.schema, run.config.model.max_history)


def require(path: Path, stage: str) -> None:
    if not path.is_file():
        raise DataError(
            f"{path.name} is not there for this data and configuration: run `python -m trainer {stage}` first"
        )


def write_json(path: Path, content: dict[str, Any]) -> None:
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(content, ensure_ascii=False, indent=1), encoding="utf-8")
    temporary.replace(path)
