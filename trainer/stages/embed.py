"""The stage `embed`: exports both towers and encodes the catalogue with the exported item tower."""

from __future__ import annotations

import logging

import numpy as np

from trainer.config.schema import Config
from trainer.errors import DataError
from trainer.export import towers
from trainer.export.catalogue import encode_catalogue, export_checked
from trainer.model.inputs import ItemFeatures
from trainer.model.towers import TwoTower
from trainer.stages.workspace import Run, load_model, require, some_histories
from twotower.arrays import Float32
from twotower.artifact.fsync import write_atomically
from twotower.artifact.layout import VersionLayout
from twotower.graphs.towers import BuyerPartsGraph, BuyerTower

log = logging.getLogger(__name__)

_PARITY_HISTORIES = 64


def embed(run: Run) -> None:
    """Exports both towers, checks on real rows that the graphs agree with torch, and encodes the catalogue."""
    config, files = run.config, run.workspace.version
    require(files.weights, "train")
    model = load_model(run, files.weights)
    vectors = encode_products(model, run.features, files, config)
    if not vectors.any():
        raise DataError(
            "every product vector is zero: the linear model learns from buyers with two events and more, and no buyer "
            "has two; set training.start=auto, which then places products by their texts"
        )
    towers.export_buyer_tower(model, files.buyer_tower)
    batch = some_histories(run, _PARITY_HISTORIES, np.random.default_rng(config.seed))
    graph = BuyerTower(files.buyer_tower, config.thread_count)
    difference = towers.check_buyer_parity(model, graph, vectors, batch, config.encoder.parity_tolerance)
    log.info(f"buyer tower: graph and torch agree to {difference:.1e}")
    towers.export_buyer_parts(model, files.buyer_parts)
    parts = BuyerPartsGraph(files.buyer_parts, config.thread_count)
    towers.check_parts_parity(graph, parts, vectors, batch, config.encoder.parity_tolerance)
    run.vocab.save(files.vocab)
    save_products(files, vectors, run.data.products.ids)


def encode_products(model: TwoTower, features: ItemFeatures, files: VersionLayout, config: Config) -> Float32:
    """Exports the item tower and encodes the catalogue with the exported graph: vectors [N, D].

    The weights are `folded`: the products' rows hold the part of their attributes.
    """
    difference = export_checked(model, features, files, config)
    log.info(f"item tower: graph and torch agree to {difference:.1e}")
    return encode_catalogue(files, features, config)


def save_products(files: VersionLayout, vectors: Float32, ids: list[str]) -> None:
    """Writes the ids [N] of the rows and the vectors [N, D]: the vectors last, since `index` begins if they exist."""
    np.save(files.ids, np.array(ids, dtype=np.str_), allow_pickle=False)
    with write_atomically(files.embeddings) as temporary:
        np.save(temporary, vectors, allow_pickle=False)
