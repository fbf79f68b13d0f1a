"""One run of the trainer: its data, checked and with text vectors, and the folder where its stages leave their work."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Sequence

import torch

from trainer.config.schema import Config
from trainer.data.catalogue import attribute_codes
from trainer.data.dataset import Dataset, load_dataset
from trainer.data.events import tie_hash
from trainer.data.files import find_files
from trainer.data.fingerprint import code_digest, fingerprint
from trainer.data.split import draw_hidden, hide, split_events
from trainer.errors import DataError
from trainer.export import text_encoder as encoder_export
from trainer.model.inputs import ItemFeatures
from trainer.release.locks import work_folder
from trainer.release.retention import current_name
from trainer.stages.workspace import Prepared, run_folder
from trainer.text import encoders as text_encoder
from trainer.text import vectors as text_vectors
from twotower.artifact.layout import Layout
from twotower.artifact.vocab import Vocab
from twotower.events import EventSchema
from twotower.graphs.text_encoder import TextEncoder

log = logging.getLogger(__name__)

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
        "text/typos",
        "text/vectors",
        "fit/softmax",
        "model/transformer",
    ),
    "twotower": ("events", "history", "text/ngrams", "text/normalise", "artifact/vocab"),
}


def run_fingerprint(config: Config, events: Sequence[str], products: Sequence[str]) -> str:
    """sha256 over the input files, every setting that changes the model, and the code that makes it.

    With new code a checkpoint of the old one is not resumed, and a version made by it is not up to date.
    """
    files = fingerprint(find_files(products, "products")), fingerprint(find_files(events, "events"))
    settings = config.digest("seed", "data", "encoder", "model", "training", "linear", "evaluation", "index")
    return hashlib.sha256(json.dumps([*files, settings, _code()]).encode()).hexdigest()


def _code() -> str:
    return code_digest(_MODEL_CODE)


def prepare(config: Config, layout: Layout, events: Sequence[str], products: Sequence[str]) -> Prepared:
    """Files → checked rows → text vectors."""
    served, threads = current_name(layout), config.thread_count
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    # nothing here reads memory that was never written; filling it takes a sixteenth of a training step
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    name = run_fingerprint(config, events, products)
    work, folder = work_folder(config, layout), run_folder(config, layout, name)
    folder.root.mkdir(parents=True, exist_ok=True)
    os.utime(folder.root)
    data = load_dataset(events, products, config.data, config.seed, folder.root)
    log.info(f"{len(data.events.buyer):,} events of {len(data.buyers):,} buyers{_rejected(data)}")
    _check_learnable(data)
    model, encoder_name = text_encoder.open_encoder(config.encoder, data.products, config.seed, work / "encoders")
    texts = text_vectors.texts_of(data.products)
    digest = encoder_export.export_encoder(
        model, encoder_name, config.encoder, [text for text in texts if text], layout, threads
    )
    graph = TextEncoder.load(layout.encoder(digest), threads)
    vocab = Vocab.build(data.products.brands, data.products.categories)
    titles: list[str] = []
    if config.training.category_alignment and len(vocab.category) > 1:
        # a title alone is as short as what a shopper types: the item tower learns from it too
        titles = text_vectors.titles_of(data.products)
    every = [*texts, *titles]
    vectors, fresh = text_vectors.encode_cached(graph, digest, every, work / "text_vectors", config.encoder.batch_size)
    log.info(f"text vectors: {fresh:,} encoded, {len(set(every)) - fresh:,} from the cache")
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
        log.info(f"{hidden.sum():,} products are hidden from the tested model")
    return Prepared(
        config, layout, folder, name, data, EventSchema(config.data.event_weights), vocab, features,
        torch.from_numpy(vectors[len(texts) :]) if titles else None, encoder_name, digest, known, split, hidden,
        tie_hash(data.products.ids, config.seed), served,
    )  # fmt: skip


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
