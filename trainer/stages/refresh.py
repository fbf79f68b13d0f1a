"""The command `refresh`: publishes the served model with today's products, without training.

The towers stay as they are; the buyer tower's file is copied. Vectors, database, indexes, the item tower's table of
products, the table of neighbours and the prior are written again, into a version of their own.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from trainer.cluster.parts import open_engine
from trainer.config.loading import load_config
from trainer.config.schema import Config
from trainer.data.catalogue import Products
from trainer.data.changes import load_products
from trainer.data.event_log.sources import find_events
from trainer.data.events import load_searches
from trainer.data.fingerprint import fingerprint
from trainer.data.searches import NO_SEARCHES, SearchedWords, Searches
from trainer.errors import DataError
from trainer.fit.cold_start import linear_part, product_rows
from trainer.fit.text_neighbours import TextNeighbours
from trainer.index import build
from trainer.index.milvus import collections, drop_unnamed
from trainer.index.product_index import buyer_queries, write_index
from trainer.model.inputs import ItemFeatures
from trainer.model.terms import read_terms
from trainer.model.towers import TwoTower, load_towers
from trainer.release.assemble import Description, write_release
from trainer.release.changes import catalogue_records, compare_catalogues, refresh_facts, stop_above
from trainer.release.locks import alone_in_cache, work_folder
from trainer.release.retention import new_name, remove_earlier
from trainer.search.write import WrittenSearch, write_search
from trainer.stages.embed import encode_products, save_products
from trainer.stages.features import as_read, item_features, text_vectors
from trainer.stages.lists import move_lists
from trainer.stages.workspace import save_weights
from trainer.text.vectors import restored_on_failure, texts_of
from trainer.text.words import word_vectors
from twotower.arrays import Float32, Int64
from twotower.artifact.catalogue import Product
from twotower.artifact.layout import Layout, VersionLayout
from twotower.artifact.manifest import IndexSpec, Manifest
from twotower.artifact.pointer import Pointer, read_pointer
from twotower.artifact.retention import prune
from twotower.artifact.search_words import SearchWords
from twotower.artifact.version import Version, open_version, verify
from twotower.artifact.vocab import Vocab
from twotower.errors import CorruptArtifact, NotFound, SettingsError
from twotower.events import EventSchema
from twotower.forgotten import ForgottenBuyers
from twotower.graphs.text_encoder import TextEncoder
from twotower.history import BuyerSequence, latest, read_recent, to_inputs, write_recent
from twotower.search.complements import ComplementTable
from twotower.search.milvus_address import MilvusAddress
from twotower.search.milvus_release import publish_version

log = logging.getLogger(__name__)

# the sections that a refresh may change: no weight depends on them
_FREE = {"device", "threads", "ray", "ray_workers", "data", "index", "search", "searches", "publish", "paths"}


@dataclass(frozen=True)
class _Refresh:
    """Today's products, and the version `base` whose model they get.

    `records`: the products as the database holds them. `known` [N]: their rows in `base`, -1 for products that it
    lacks. `facts`: what manifest and report say about the refresh. `position`: the last change of the live catalogue
    that the products have; None without. `searches`: those of the events given; None keeps what the `served` version
    has learned.
    """

    base: Version
    served: Version
    config: Config
    products: Products
    records: list[Product]
    known: Int64
    facts: dict[str, Any]
    rejects: Path
    forgotten: ForgottenBuyers
    position: tuple[str, int] | None
    searches: Searches | None


def refresh(
    layout: Layout,
    products: Sequence[str],
    files: Sequence[Path],
    assignments: Sequence[str],
    force: bool = False,
    events: Sequence[str] = (),
) -> str:
    """Publishes the served model with the products of today's files; returns the new version's name, or "" if nothing
    has changed. Of `events` only the searches count; without events, what was learned stays.

    The settings are those of the served version, with `files` and `assignments` laid over them. Raises SettingsError if
    a changed setting requires retraining, DataError if nothing is served, the files cannot be used or more than
    `publish.max_missing_share` of the served products are missing, and Overtaken if CURRENT changes meanwhile; CURRENT
    then stays as it is. A refresh that fails leaves the cache of text vectors as it was.
    """
    pointer, served = _served(layout)
    config = _settings(served, files, assignments)
    torch.set_num_threads(config.thread_count)
    work = layout.work / "refresh"
    catalogue, summary = load_products(products, config.data, work)
    base = _trained(layout, served)
    records, known = catalogue_records(base, served, catalogue, time.time())
    changes = compare_catalogues(served, records)
    rejected = sum(summary.rejected_products.values())
    log.info(
        f"{len(catalogue):,} products, {served.manifest.products:,} in the served version {served.name}: {changes}"
        + (f"; {rejected:,} rejected rows: {work / 'rejects.csv'}" if rejected else "")
    )
    learned_from = fingerprint(find_events(events).contents()) if events else ""
    has_news = bool(learned_from) and learned_from != _recorded(served).get("refresh", {}).get("events")
    if not any(changes) and not force and not has_news and _has_same_search(served, config):
        return ""
    stop_above(config.publish.max_missing_share, changes.gone, served.manifest.products)
    facts = refresh_facts(served, changes, summary) | {"events": learned_from}
    rejected_events, engine = work / "event_rejects.csv", open_engine(config.ray)
    searches = load_searches(events, catalogue.ids, config.data, rejected_events, engine) if events else None
    with alone_in_cache(config, layout), restored_on_failure(_text_cache(layout, config)):
        rejects, forgotten = work / "rejects.csv", ForgottenBuyers.read(layout.forgotten)
        position = summary.catalogue
        today = _Refresh(base, served, config, catalogue, records, known, facts, rejects, forgotten, position, searches)
        name = _write(layout, today)
    # who rolled back meanwhile did not want this model
    milvus = MilvusAddress.from_environment()
    publish_version(layout, name, milvus, expected=pointer)
    held = collections(layout)
    removed = remove_earlier(layout, facts["trained"]) + prune(layout, config.publish.keep_versions)
    drop_unnamed(layout, held, milvus)
    log.info(f"published {name}" + (f"; removed {', '.join(removed)}" if removed else ""))
    return name


def _has_same_search(served: Version, config: Config) -> bool:
    """Whether the served index of words has the same fields, with the same settings of search."""
    before, now = served.manifest.configuration, config.model_dump(mode="json")
    return bool(before["data"]["search_fields"] == now["data"]["search_fields"] and before["search"] == now["search"])


def _served(layout: Layout) -> tuple[Pointer, Version]:
    """CURRENT and the version that it names, every file hashed."""
    pointer = read_pointer(layout.current)
    if pointer is None:
        raise DataError(f"{layout.root} has no published version; run `python -m trainer run` first")
    version = open_version(layout, pointer.version, pointer.manifest_sha256)
    verify(version)
    return pointer, version


def _trained(layout: Layout, served: Version) -> Version:
    """The version that the served model was trained as, every file hashed; the served one if that is gone.

    Only the trained version still knows the products that an earlier refresh lost, if they come back.
    """
    if served.trained_as == served.name:
        return served
    try:
        version = open_version(layout, served.trained_as)
        verify(version)
    except (CorruptArtifact, NotFound) as error:
        log.warning(f"products that were gone and are back count as new ({error})")
        return served
    return version


def _settings(base: Version, files: Sequence[Path], assignments: Sequence[str]) -> Config:
    trained = load_config([base.layout.config])
    wanted = load_config([base.layout.config, *files], assignments)
    before, after = trained.model_dump(), wanted.model_dump()
    changed = [name for name in after if name not in _FREE and after[name] != before[name]]
    if wanted.data.event_weights != trained.data.event_weights:
        changed.append("data.event_weights")
    if changed:
        raise SettingsError(
            f"{', '.join(changed)}: not what {base.name} was trained with, and a refresh trains nothing; use "
            "`python -m trainer run`"
        )
    return wanted


def _write(layout: Layout, today: _Refresh) -> str:
    """Writes the version and returns its name."""
    created = datetime.now(UTC)
    # the same digits as those of the trained version: they stand for the model
    _, _, digits = today.facts["trained"].partition("-")
    name = new_name(layout, created, digits or "refresh")
    features = _features(layout, today)
    weights, model = _refreshed(today, features)

    def fill(target: VersionLayout) -> Description:
        source = today.base.layout
        for path in (source.buyer_tower, source.buyer_parts, source.vocab):
            shutil.copyfile(path, target.root / path.name)
        write_recent(target.recent, (one for one in read_recent(source.recent) if one[0] not in today.forgotten))
        shutil.copyfile(today.rejects, target.rejects)
        save_weights(weights, target.weights)
        read_terms(source, today.base.manifest.fusion).moved(today.known).save(target)
        move_lists(today.base, today.known, today.products.categories, target)
        if today.base.has_complements:
            ComplementTable.load(source).moved(today.known).save(target)
        vectors = encode_products(model, features, target, today.config)
        save_products(target, vectors, today.products.ids)
        spec, written = _write_indexes(today, features, vectors, target)
        manifest = _manifest(today, name, created).model_copy(update={"index": spec, "text_search": written.search})
        searched = written.searches if today.searches else _keep_searches(today.served, target)
        metrics = _metrics(today) | {"searches": searched.facts}
        return Description(today.config, today.records, metrics, manifest, searched)

    write_release(layout, name, fill, today.config.thread_count)
    return name


def _write_indexes(
    today: _Refresh, features: ItemFeatures, vectors: Float32, target: VersionLayout
) -> tuple[IndexSpec, WrittenSearch]:
    spec = write_index(vectors, _queries(today, vectors), target, today.config, today.products)
    encoder = TextEncoder.load(today.base.encoder, today.config.thread_count)
    searches = today.searches or NO_SEARCHES
    return spec, write_search(today.products, features.text.numpy(), encoder, target, today.config, searches)


def _keep_searches(served: Version, target: VersionLayout) -> SearchedWords:
    """Copies what the served version has learned; the encoder is the same."""
    for path in served.query_ngrams or ():
        shutil.copyfile(path, target.root / path.name)
    words = SearchWords.load(served.layout.search_words)
    return SearchedWords(_recorded(served)["searches"], dict(words.queries), dict(words.learned))


def _manifest(today: _Refresh, name: str, created: datetime) -> Manifest:
    """The manifest of `base` with what a refresh changes, less the indexes."""
    origin = {"fingerprint": _fingerprint(today), "trained_as": today.facts["trained"]}
    return today.base.manifest.model_copy(
        update={
            "version": name,
            "created_at": created.isoformat(),
            "products": len(today.products),
            "configuration": origin | today.config.model_dump(),
            "shards": today.config.index.shards,
            "catalogue": today.position,
            "files": {},
            "private_files": {},
        }
    )


def _fingerprint(today: _Refresh) -> str:
    """sha256 over the fingerprint of `base`, the products and the settings: never the fingerprint of a run."""
    parts = [today.base.manifest.configuration["fingerprint"], today.config.digest(), today.records]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _text_cache(layout: Layout, config: Config) -> Path:
    return work_folder(config, layout) / "text_vectors"


def _features(layout: Layout, today: _Refresh) -> ItemFeatures:
    """The products' features. A trained table of products holds the part of their attributes: there are none here."""
    vocab, cache = Vocab.load(today.base.layout.vocab), _text_cache(layout, today.config)
    # the cache keeps the titles' vectors too, or the next training would encode them again
    products = as_read(today.products, today.config.encoder)
    vectors = text_vectors(products, today.base.encoder, today.config, len(vocab.category), cache)
    return item_features(today.products, vectors.texts, vocab, torch.zeros(len(today.products), 0, dtype=torch.long))


def _refreshed(today: _Refresh, features: ItemFeatures) -> tuple[dict[str, torch.Tensor], TwoTower]:
    """The weights with a row for each of today's products, and the model with these weights."""
    weights = load_file(today.base.layout.weights)
    model = load_towers(weights, today.config.model)
    linear = linear_part(model, _recorded(today.base)["training"])
    popular = np.array([one.popularity > 0 for one in today.records])
    texts = texts_of(as_read(today.products, today.config.encoder))
    neighbours = TextNeighbours(word_vectors(texts), today.config.seed)
    weights["item.product.weight"] = product_rows(model, linear, today.known, popular, features, neighbours)
    return weights, load_towers(weights, today.config.model)


def _queries(today: _Refresh, vectors: Float32) -> build.Queries:
    """Vectors of the training's buyers, computed from today's vectors, on which the index is tuned."""
    manifest, files = today.base.manifest, today.base.layout
    row_of = {ident: row for row, ident in enumerate(today.products.ids)}
    schema = EventSchema(manifest.event_weights)
    codes = {name: code for code, name in enumerate(schema.names, start=1)}
    histories = []
    for buyer, interactions in read_recent(files.recent):
        if buyer in today.forgotten:
            continue
        known = latest([one for one in interactions if one.product_id in row_of], manifest.max_history)
        if known:
            columns = zip(*((row_of[one[0]], codes[one[1]], one[2]) for one in known), strict=True)
            histories.append(BuyerSequence(*(np.array(column, np.int64) for column in columns)))
    if not histories:
        return build.item_queries(vectors, today.config.seed)
    draw = np.random.default_rng(today.config.seed)
    chosen = np.sort(draw.choice(len(histories), min(len(histories), build.QUERIES), replace=False))
    batch = to_inputs([histories[one] for one in chosen], schema)
    return buyer_queries(vectors, batch, files.buyer_tower, today.config.thread_count)


def _recorded(version: Version) -> dict[str, Any]:
    metrics: dict[str, Any] = json.loads(version.layout.metrics.read_text(encoding="utf-8"))
    return metrics


def _metrics(today: _Refresh) -> dict[str, Any]:
    """The metrics of the training, with today's counts of products.

    Sample buyers lose the products that are gone, and forgotten buyers are no samples.
    """
    before, there = _recorded(today.base), set(today.products.ids)
    lists = ("history", "recommended", "targets")
    samples = [
        {**one, **{name: [entry for entry in one[name] if entry["product"] in there] for name in lists}}
        for one in before["samples"]
        if not today.forgotten.has_hash(one["buyer"])
    ]
    read = {key: today.facts[key] for key in ("product_rows", "rejected_products")}
    data = before["data"] | read | {"products": len(today.products)}
    return before | {"samples": samples, "data": data, "refresh": today.facts}
