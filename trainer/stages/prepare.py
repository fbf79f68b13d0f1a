"""Prepares a run: reads and checks the data, encodes the texts, splits the events and opens the workspace."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path

import torch

from trainer.cluster.parts import open_engine
from trainer.config.schema import Config
from trainer.data.catalogue import Products, attribute_codes
from trainer.data.changes import find_products
from trainer.data.dataset import Dataset, check_learnable, load_dataset
from trainer.data.event_log.sources import find_events
from trainer.data.events import Events, tie_hash
from trainer.data.fingerprint import code_digest, fingerprint
from trainer.data.repeats import REPEAT_BOUND, Repeats, measure_repeats
from trainer.data.split import Split, draw_hidden, hide, newest_events, split_events
from trainer.export import text_encoder as encoder_export
from trainer.export.graph import free_parameters
from trainer.fit.content_trust import ContentTrust, measure_trust
from trainer.fit.text_neighbours import TextNeighbours
from trainer.fit.training_set import TrainingSet
from trainer.release.locks import work_folder
from trainer.release.retention import current_name
from trainer.stages.features import as_read, item_features, text_vectors
from trainer.stages.warm import WarmStart, check_anything_new, check_new_events
from trainer.stages.workspace import Run, open_workspace
from trainer.text import encoders as text_encoder
from trainer.text.vectors import texts_of
from trainer.text.words import word_vectors
from twotower.arrays import Mask
from twotower.artifact.layout import Layout
from twotower.artifact.vocab import Vocab
from twotower.events import EventSchema

log = logging.getLogger(__name__)

# how a version is computed and published, not what it holds
_CHANGES_NO_VERSION = {"device", "threads", "ray", "ray_workers", "publish", "paths"}
# whatever changes a model, its text vectors or its product vectors; a package stands for all modules below it
MODEL_CODE = (
    "trainer.data",
    "trainer.model",
    "trainer.text",
    "trainer.fit",
    "trainer.export",
    "trainer.external_table",
    "trainer.evaluate.ranking",
    "trainer.stages.features",
    "trainer.stages.prepare",
    "trainer.stages.train",
    "trainer.stages.warm",
    "trainer.stages.workspace",
    "twotower.event_log",
    "twotower.events",
    "twotower.forgotten",
    "twotower.history",
    "twotower.live",
    "twotower.text",
    "twotower.graphs",
    "twotower.search",
    "twotower.artifact.vocab",
)


def run_fingerprint(config: Config, events: Sequence[str], products: Sequence[str], warm: str = "") -> str:
    """sha256 over the input files, every setting that changes a version, the code that computes it, and the version
    `warm` that a warm training begins from.

    New code therefore resumes no old checkpoint, and no version of old code is up to date.
    """
    files = fingerprint(find_products(products).contents()), fingerprint(find_events(events).contents())
    settings = config.digest(*(name for name in Config.model_fields if name not in _CHANGES_NO_VERSION))
    parts = [*files, settings, code_digest(MODEL_CODE), *([warm] if warm else [])]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def prepare(
    config: Config,
    layout: Layout,
    events: Sequence[str],
    products: Sequence[str],
    warm: WarmStart | None = None,
    scratch_reason: str = "",
) -> Run:
    """Reads and checks the files, encodes the texts and splits the events.

    Raises NoWarmStart if `warm` is given and too few buyers have a newer event.
    """
    served = current_name(layout)
    _configure_torch(config.thread_count)
    name = run_fingerprint(config, events, products, warm.version.name if warm else "")
    work, workspace = work_folder(config, layout), open_workspace(config, layout, name)
    workspace.version.root.mkdir(parents=True, exist_ok=True)
    os.utime(workspace.root)
    data = load_dataset(events, products, config.data, config.seed, workspace.root, open_engine(config.ray))
    log.info(f"{len(data.events.buyer):,} events of {len(data.buyers):,} buyers{_rejected(data, workspace.rejects)}")
    check_learnable(data)
    schema = EventSchema(config.data.event_weights)
    config = warm.settle(config) if warm else config
    split = _since(warm, data, config) if warm else split_events(data.events, config.evaluation)
    repeats = measure_repeats(data.events, split.train_stop, schema)
    config = _settle_repeats(config.settle_protocol(split.method), repeats)
    known, split, hidden = _hide(config, data, split)
    trust = measure_trust(data.products, TrainingSet(known, split.train_stop), config.seed)
    config = _settle_descriptions(config, trust)
    read = as_read(data.products, config.encoder)
    encoder_name, digest = _encoder_of(warm) if warm else _export_encoder(config, layout, read)
    vocab = Vocab.build(data.products.brands, data.products.categories)
    vectors = text_vectors(read, layout.encoder(digest), config, len(vocab.category), work / "text_vectors")
    attributes = torch.from_numpy(attribute_codes(data.products.attributes))
    return Run(
        config=config,
        layout=layout,
        workspace=workspace,
        fingerprint=name,
        data=data,
        schema=schema,
        vocab=vocab,
        features=item_features(data.products, vectors.texts, vocab, attributes),
        titles=vectors.titles,
        neighbours=TextNeighbours(word_vectors(texts_of(read)), config.seed),
        encoder_name=encoder_name,
        encoder_digest=digest,
        events=known,
        split=split,
        hidden=hidden,
        repeats=repeats,
        trust=trust,
        ties=tie_hash(data.products.ids, config.seed),
        served=served,
        warm=warm,
        scratch_reason=scratch_reason,
    )


def _since(warm: WarmStart, data: Dataset, config: Config) -> Split:
    """The split of a warm training: it is tested on what buyers did since the served version."""
    check_anything_new(int(data.events.time.max()), warm)
    split = newest_events(data.events, warm.newest_ms, f"events since {warm.version.name}")
    check_new_events(len(split.test), warm.version.name, config.evaluation.min_test_buyers)
    return split


def _encoder_of(warm: WarmStart) -> tuple[str, str]:
    """The served weights read the texts of the served encoder."""
    return warm.version.manifest.encoder, warm.version.manifest.encoder_digest


def _configure_torch(threads: int) -> None:
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    # no code here reads memory that was never written; filling it takes a sixteenth of a training step
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def _export_encoder(config: Config, layout: Layout, products: Products) -> tuple[str, str]:
    """Opens or trains the text encoder and exports it; returns its name and its digest."""
    folder = work_folder(config, layout) / "encoders"
    model, name = text_encoder.open_encoder(config.encoder, products, config.seed, folder)
    texts = [text for text in texts_of(products) if text]
    digest = encoder_export.export_encoder(model, name, config.encoder, texts, layout, config.thread_count)
    free_parameters(model)
    return name, digest


def _settle_descriptions(config: Config, trust: ContentTrust) -> Config:
    """Settles whether descriptions are read, and logs why."""
    settled = config.settle_descriptions(not trust.descriptions_mislead)
    read = "read" if settled.encoder.reads_descriptions else "not read"
    log.info(f"descriptions are {read}: {trust.describe()}")
    return settled


def _settle_repeats(config: Config, repeats: Repeats) -> Config:
    """Settles whether products of a history are recommended, and logs why."""
    settled = config.settle_repeats(repeats.are_common)
    share = (
        f"{repeats.share:.1%} of {repeats.events:,} events of the kind {repeats.kind}" if repeats.kind else "no kind"
    )
    seen = "excluded" if settled.evaluation.excludes_seen else "recommended"
    log.info(f"products of a history are {seen}: {share} repeat an earlier one (auto: {REPEAT_BOUND:.0%} or more)")
    return settled


def _hide(config: Config, data: Dataset, split: Split) -> tuple[Events, Split, Mask]:
    """The events that the tested model may see, their split, and the hidden products [N]."""
    hidden = draw_hidden(len(data.products), config.evaluation.hidden_products, config.seed)
    if not hidden.any():
        return data.events, split, hidden
    log.info(f"{hidden.sum():,} products are hidden from the tested model")
    return *hide(data.events, split, hidden, config.evaluation.excludes_seen), hidden


def _rejected(data: Dataset, file: Path) -> str:
    total = sum(data.summary.rejected_events.values()) + sum(data.summary.rejected_products.values())
    return f"; {total:,} rejected rows: {file}" if total else ""
