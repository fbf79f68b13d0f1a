"""One run of the trainer: its data, checked and with text vectors, and the folder where its stages leave their work."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from trainer.config.schema import Config
from trainer.data.catalogue import attribute_codes
from trainer.data.dataset import Dataset, load_dataset
from trainer.data.events import Events, tie_hash
from trainer.data.files import find_files
from trainer.data.fingerprint import code_digest, fingerprint
from trainer.data.split import Cases, Split, draw_hidden, hide, split_events
from trainer.errors import DataError
from trainer.evaluate import ranking as evaluate
from trainer.export import text_encoder as encoder_export
from trainer.fit.selection import Fitter
from trainer.fit.softmax import pick_device
from trainer.model.inputs import ItemFeatures, Sizes
from trainer.model.towers import TwoTower
from trainer.progress import Say
from trainer.release.locks import work_folder
from trainer.release.retention import current_name
from trainer.text import encoders as text_encoder
from trainer.text import vectors as text_vectors
from twotower.artifact.layout import Layout
from twotower.artifact.vocab import Vocab
from twotower.events import EventSchema
from twotower.graphs.text_encoder import TextEncoder
from twotower.history import BuyerInputs

# the modules whose every change may change a model
_MODEL_CODE = {
    "trainer": (
        "fit/text_neighbors",
        "fit/sampler",
        "fit/blend",
        "fit/selection",
        "data/catalogue",
        "data/dataset",
        "data/events",
        "fit/linear/placement",
        "fit/linear/spectral",
        "fit/linear/towers",
        "fit/linear/trend",
        "fit/loss",
        "model/heads",
        "model/inputs",
        "model/towers",
        "export/quantize",
        "data/split",
        "text/encoders",
        "text/ngram_model",
        "text/ngram_training",
        "text/noise",
        "text/vectors",
        "fit/softmax",
        "model/transformer",
    ),
    "twotower": ("events", "history", "text/ngrams", "text/normalise", "artifact/vocab"),
}


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


def run_fingerprint(config: Config, events: Sequence[str], products: Sequence[str]) -> str:
    """sha256 over the input files, every setting that changes the model, and the code that makes it.

    With new code a checkpoint of the old one is not resumed, and a version made by it is not up to date.
    """
    files = fingerprint(find_files(products, "products")), fingerprint(find_files(events, "events"))
    settings = config.digest("seed", "data", "encoder", "model", "training", "linear", "evaluation", "index")
    return hashlib.sha256(json.dumps([*files, settings, _code()]).encode()).hexdigest()


def _code() -> str:
    return code_digest(_MODEL_CODE)


def prepare(config: Config, layout: Layout, events: Sequence[str], products: Sequence[str], say: Say) -> Prepared:
    """Files → checked rows → text vectors."""
    served, threads = current_name(layout), config.thread_count
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    # nothing here reads memory that was never written; filling it takes a sixteenth of a training step
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    name = run_fingerprint(config, events, products)
    work, folder = work_folder(config, layout), _run_folder(config, layout, name)
    folder.root.mkdir(parents=True, exist_ok=True)
    os.utime(folder.root)
    data = load_dataset(events, products, config.data, config.seed, folder.root, say)
    say(f"{len(data.events.buyer):,} events of {len(data.buyers):,} buyers{_rejected(data)}")
    _check_learnable(data)
    model, encoder_name = text_encoder.open_encoder(config.encoder, data.products, config.seed, work / "encoders", say)
    texts = text_vectors.texts_of(data.products)
    digest = encoder_export.export_encoder(
        model, encoder_name, config.encoder, [text for text in texts if text], layout, threads, say
    )
    graph = TextEncoder.load(layout.encoder(digest), threads)
    vocab = Vocab.build(data.products.brands, data.products.categories)
    titles: list[str] = []
    if config.training.category_alignment and len(vocab.category) > 1:
        # a title alone is as short as what a shopper types: the item tower learns from it too
        titles = text_vectors.titles_of(data.products)
    every = [*texts, *titles]
    vectors, fresh = text_vectors.encode_cached(graph, digest, every, work / "text_vectors", config.encoder.batch_size)
    say(f"text vectors: {fresh:,} encoded, {len(set(every)) - fresh:,} from the cache")
    features = ItemFeatures(
        torch.from_numpy(vectors[: len(texts)]),
        torch.tensor([vocab.brand_index(brand) for brand in data.products.brands]),
        torch.tensor([vocab.category_index(category) for category in data.products.categories]),
        torch.arange(1, len(texts) + 1),
        torch.from_numpy(attribute_codes(data.products.attributes)),
    )
    known, split = data.events, split_events(data.events, config.evaluation)
    hidden = draw_hidden(len(data.products), config.evaluation.hidden_products, config.seed)
    if hidden.any():
        known, split = hide(known, split, hidden, config.evaluation.exclude_seen)
        say(f"{hidden.sum():,} products are hidden from the tested model")
    return Prepared(
        config, layout, folder, name, data, EventSchema(config.data.event_weights), vocab, features,
        torch.from_numpy(vectors[len(texts) :]) if titles else None, encoder_name, digest, known, split, hidden,
        tie_hash(data.products.ids, config.seed), served,
    )  # fmt: skip


def forget(config: Config, layout: Layout, name: str) -> None:
    """Removes what earlier stages left for this data and configuration, so that they start anew."""
    shutil.rmtree(_run_folder(config, layout, name).root, ignore_errors=True)


def _run_folder(config: Config, layout: Layout, name: str) -> RunFolder:
    return RunFolder(work_folder(config, layout) / "runs" / name[:16])


def fitter_of(run: Prepared, say: Say) -> Fitter:
    """What fits models to the prepared data."""
    device, text, attributes = pick_device(run.config.device), run.features.text, run.features.attributes
    sizes = Sizes(
        text.shape[1], len(set(run.vocab.brand.values())), len(set(run.vocab.category.values())),
        len(run.data.products), int(attributes.max()) if attributes.numel() else 0, len(run.schema.names),
    )  # fmt: skip
    return Fitter(
        run.config, sizes, ItemFeatures(*(column.to(device) for column in run.features)),
        None if run.titles is None else run.titles.to(device), run.schema, run.ties, device, run.fingerprint, say,
    )  # fmt: skip


def load_model(run: Prepared, weights: Path) -> TwoTower:
    """A fitted model on the CPU, to be asked and not trained, from one of the files of `train`."""
    kind = json.loads(run.folder.training.read_text(encoding="utf-8"))["kind"]
    model = fitter_of(run, lambda line: None).new_model(kind)
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


def _check_learnable(data: Dataset) -> None:
    """DataError where there is nothing to tell apart: every vector would be zero."""
    if len(data.products) < 2:
        raise DataError("a catalogue of one product cannot be learned: two are needed")
    first = int(data.events.product[0])
    if (data.events.product == first).all():
        raise DataError(
            f"all {len(data.events.product):,} events are of one product, {data.products.ids[first]!r}: "
            "what is bought together cannot be learned, two are needed"
        )


def _rejected(data: Dataset) -> str:
    total = sum(data.summary.rejected_events.values()) + sum(data.summary.rejected_products.values())
    return f"; {total:,} rows in rejects.csv" if total else ""
