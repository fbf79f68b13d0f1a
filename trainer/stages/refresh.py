"""The published model with today's products: new and gone ones, changed texts, prices and stock, without any training.

The towers stay as they are, down to the buyer graph's bytes. The catalogue's vectors, its database, the index and the
item graph's table of products are made anew, and become a version of their own.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from trainer.config.loading import load_config
from trainer.config.schema import Config
from trainer.data.catalogue import Products, load_products
from trainer.errors import DataError
from trainer.export.catalogue import encode, export
from trainer.fit import cold_start as newcomers
from trainer.fit.cold_start import load_towers
from trainer.index import build as index
from trainer.index import product_index as item_side
from trainer.index.text_index import write_text_search
from trainer.model.inputs import ItemFeatures
from trainer.model.towers import TwoTower
from trainer.release.changes import catalogue_records, compare_catalogues, refresh_facts, stop_above
from trainer.release.locks import alone_in_cache, work_folder
from trainer.release.retention import free_name, remove_earlier
from trainer.release.verify import load_as_services_do
from trainer.report.page import write_report
from trainer.text.vectors import encode_cached, texts_of, titles_of
from twotower.arrays import Float32, Int64
from twotower.artifact.catalogue import Product, write_catalogue
from twotower.artifact.layout import Layout, VersionLayout
from twotower.artifact.manifest import Manifest
from twotower.artifact.pointer import Pointer, read_pointer
from twotower.artifact.retention import prune
from twotower.artifact.store import publish, write_version
from twotower.artifact.version import Version, open_version, verify
from twotower.artifact.vocab import Vocab
from twotower.errors import CorruptArtifact, NotFound, SettingsError
from twotower.events import EventSchema
from twotower.graphs.text_encoder import TextEncoder
from twotower.history import BuyerSequence, latest, read_recent, to_inputs

log = logging.getLogger(__name__)

# what a refresh may set otherwise than the training did: nothing that the towers depend on
_FREE = {"device", "threads", "data", "index", "publish", "paths"}


@dataclass(frozen=True)
class _Refresh:
    """Today's products beside the version `base` that knows most of its model; `known` [N] are their rows there, -1
    where it lacks one."""

    base: Version
    config: Config
    products: Products
    records: list[Product]
    known: Int64
    facts: dict[str, Any]
    rejects: Path


def refresh(
    layout: Layout, products: Sequence[str], files: Sequence[Path], assignments: Sequence[str], force: bool = False,
) -> str:  # fmt: skip
    """Publishes the served model with the products of today's files, and returns the new version's name, or "" where
    nothing has changed.

    The settings are those of the served version, with `files` and `assignments` laid over them. Raises SettingsError
    where these would take a training, DataError where nothing is served, the files cannot be used, or more than
    `publish.max_missing_share` of the served products are missing in them, and Overtaken where somebody published
    meanwhile; CURRENT then stays as it is.
    """
    pointer, served = _served(layout)
    config = _configured(served, files, assignments)
    torch.set_num_threads(config.thread_count)
    work = layout.work / "refresh"
    found, summary = load_products(products, config.data, work)
    base = _trained(layout, served)
    records, known = catalogue_records(base, found)
    changes = compare_catalogues(served, records)
    rejected = sum(summary.rejected_products.values())
    log.info(
        f"{len(found):,} products beside {served.manifest.products:,} of {served.name}: {changes}"
        + (f"; {rejected:,} rows in rejects.csv" if rejected else "")
    )
    if not any(changes) and not force:
        return ""
    stop_above(config.publish.max_missing_share, changes.gone, served.manifest.products)
    facts = refresh_facts(served, changes, summary)
    with alone_in_cache(config, layout):
        name = _write(layout, _Refresh(base, config, found, records, known, facts, work / "rejects.csv"))
    # who rolled back meanwhile did not want this model
    publish(layout, name, expected=pointer)
    removed = remove_earlier(layout, facts["trained"]) + prune(layout, config.publish.keep_versions)
    log.info(f"published {name}" + (f"; removed {', '.join(removed)}" if removed else ""))
    return name


def _served(layout: Layout) -> tuple[Pointer, Version]:
    """CURRENT, and the version that it names, every file of it checked."""
    pointer = read_pointer(layout.current)
    if pointer is None:
        raise DataError(f"{layout.root} has no published version; run `python -m trainer run` first")
    version = open_version(layout, pointer.version, pointer.manifest_sha256)
    verify(version)
    return pointer, version


def _trained(layout: Layout, served: Version) -> Version:
    """The version that a training made of the served model, every file of it checked: it alone knows the products that
    an earlier refresh lost, should they come back. The served one where it is not there any more."""
    if served.trained_as == served.name:
        return served
    try:
        version = open_version(layout, served.trained_as)
        verify(version)
    except (CorruptArtifact, NotFound) as error:
        log.warning(f"products that were gone and are back count as new ({error})")
        return served
    return version


def _configured(base: Version, files: Sequence[Path], assignments: Sequence[str]) -> Config:
    trained = load_config([base.layout.config])
    wanted = load_config([base.layout.config, *files], assignments)
    before, after = trained.model_dump(), wanted.model_dump()
    bound = [name for name in after if name not in _FREE and after[name] != before[name]]
    if wanted.data.event_weights != trained.data.event_weights:
        bound.append("data.event_weights")
    if bound:
        raise SettingsError(
            f"{', '.join(bound)}: not what {base.name} was trained with, and a refresh trains nothing; use "
            "`python -m trainer run`"
        )
    return wanted


def _write(layout: Layout, today: _Refresh) -> str:
    created = datetime.now(UTC)
    # the same digits as the training's: they tell the model
    _, _, digits = today.facts["trained"].partition("-")
    name = free_name(layout, f"{created:%Y%m%dT%H%M%SZ}-{digits or 'refresh'}"[:60])
    features = _features(layout, today)
    weights, model = _refreshed(today, features)

    def fill(target: VersionLayout) -> Manifest:
        config, source = today.config, today.base.layout
        tower, difference = export(model, features, target.item_tower, config)
        vectors = encode(tower, features, config.model.dimension)
        log.info(f"the item graph agrees with torch to {difference:.1e}")
        np.save(target.embeddings, vectors, allow_pickle=False)
        np.save(target.ids, np.array(today.products.ids, dtype=np.str_), allow_pickle=False)
        for path in (source.buyer_tower, source.vocab, source.recent):
            shutil.copyfile(path, target.root / path.name)
        shutil.copyfile(today.rejects, target.rejects)
        save_file(weights, target.weights)
        target.weights.chmod(0o644)  # safetensors lets its owner alone read
        target.config.write_text(config.to_yaml(), encoding="utf-8")
        write_catalogue(target.products, today.records)
        target.metrics.write_text(json.dumps(_metrics(today), ensure_ascii=False, indent=1), encoding="utf-8")
        spec = item_side.write_index(vectors, _queries(today, vectors), target, config)
        encoder = TextEncoder.load(today.base.encoder, config.thread_count)
        found = write_text_search(features.text.numpy(), titles_of(today.products), encoder, target, config)
        manifest = today.base.manifest.model_copy(
            update={
                "version": name,
                "created_at": created.isoformat(),
                "products": len(today.products),
                "configuration": {"fingerprint": _fingerprint(today), "trained_as": today.facts["trained"]}
                | config.model_dump(),
                "index": spec,
                "text_search": found,
                "files": {},
            }
        )
        write_report(target, manifest)
        return manifest

    write_version(layout, name, fill, check=lambda written: load_as_services_do(written, today.config.thread_count))
    return name


def _fingerprint(today: _Refresh) -> str:
    """sha256 over that of the version below, the products and the settings: never that of a run."""
    of = [today.base.manifest.configuration["fingerprint"], today.config.digest(), today.records]
    return hashlib.sha256(json.dumps(of).encode()).hexdigest()


def _features(layout: Layout, today: _Refresh) -> ItemFeatures:
    config, vocab = today.config, Vocab.load(today.base.layout.vocab)
    texts = texts_of(today.products)
    # what a training keeps there beside them stays, or the next one would encode it again
    aligned = config.training.category_alignment and len(vocab.category) > 1
    titles = titles_of(today.products) if aligned else []
    vectors, fresh = encode_cached(
        TextEncoder.load(today.base.encoder, config.thread_count), today.base.manifest.encoder_digest,
        [*texts, *titles], work_folder(config, layout) / "text_vectors", config.encoder.batch_size,
    )  # fmt: skip
    log.info(f"text vectors: {fresh:,} encoded")
    return ItemFeatures(
        torch.from_numpy(vectors[: len(texts)]),
        torch.tensor([vocab.brand_index(brand) for brand in today.products.brands]),
        torch.tensor([vocab.category_index(category) for category in today.products.categories]),
        torch.arange(1, len(texts) + 1),
        torch.zeros(len(texts), 0, dtype=torch.long),
    )


def _refreshed(today: _Refresh, features: ItemFeatures) -> tuple[dict[str, torch.Tensor], TwoTower]:
    """The model with a row for each of today's products, and its weights."""
    weights = load_file(today.base.layout.weights)
    try:
        fitting = newcomers.Fitting.read(_recorded(today.base)["training"])
    except (KeyError, TypeError) as error:
        raise DataError(
            f"{today.base.name} does not say how it was fitted ({error}): an older release made it; train again"
        ) from None
    model = load_towers(weights, today.config, fitting.kind)
    popular = np.array([one.popularity > 0 for one in today.records])
    weights["item.product.weight"] = newcomers.product_rows(
        model, fitting, today.known, popular, features, today.config.seed
    )
    return weights, load_towers(weights, today.config, fitting.kind)


def _queries(today: _Refresh, vectors: Float32) -> index.Queries:
    """Buyers of the training on whom the index is tuned, their histories read with today's vectors."""
    manifest, files = today.base.manifest, today.base.layout
    row_of = {ident: row for row, ident in enumerate(today.products.ids)}
    schema = EventSchema(manifest.event_weights)
    codes = {name: code for code, name in enumerate(schema.names, start=1)}
    histories = []
    for _, interactions in read_recent(files.recent):
        known = latest([one for one in interactions if one.product_id in row_of], manifest.max_history)
        if known:
            columns = zip(*((row_of[one[0]], codes[one[1]], one[2]) for one in known), strict=True)
            histories.append(BuyerSequence(*(np.array(column, np.int64) for column in columns)))
    if not histories:
        return index.item_queries(vectors, today.config.seed)
    draw = np.random.default_rng(today.config.seed)
    chosen = np.sort(draw.choice(len(histories), min(len(histories), index.QUERIES), replace=False))
    batch = to_inputs([histories[one] for one in chosen], schema)
    return item_side.buyer_queries(vectors, batch, files.buyer_tower, today.config.thread_count)


def _recorded(version: Version) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(version.layout.metrics.read_text(encoding="utf-8"))
    return found


def _metrics(today: _Refresh) -> dict[str, Any]:
    """What the training recorded of itself and its test, and what was read of products today.

    Sample buyers lose the products that are gone.
    """
    before, there = _recorded(today.base), set(today.products.ids)
    lists = ("history", "recommended", "targets")
    samples = [
        {**one, **{name: [entry for entry in one[name] if entry["product"] in there] for name in lists}}
        for one in before["samples"]
    ]
    read = {key: today.facts[key] for key in ("product_rows", "rejected_products")}
    data = before["data"] | read | {"products": len(today.products)}
    return before | {"samples": samples, "data": data, "refresh": today.facts}
