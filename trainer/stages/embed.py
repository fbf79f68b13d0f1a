"""The stage `embed`: exports the towers and encodes the catalogue."""

from __future__ import annotations

import logging

import numpy as np

from trainer.errors import DataError
from trainer.export import catalogue
from trainer.export import towers as export
from trainer.stages.workspace import Prepared, load_model, require, some_histories
from twotower.graphs.towers import BuyerTower

log = logging.getLogger(__name__)

_PARITY_HISTORIES = 64


def embed(run: Prepared) -> None:
    """Exports both towers, proves parity with torch on real rows, and encodes the catalogue through the graph."""
    require(run.folder.final, "train")
    config, folder = run.config, run.folder
    model = load_model(run, folder.final)
    # rows of products hold what attributes tell, and of untrained ones what reads alike tells: see `Fitter.served`
    tower, item = catalogue.export_checked(model, run.features, folder.item_tower, config)
    vectors = catalogue.encode_catalogue(tower, run.features, config.model.dimension)
    if not vectors.any():
        raise DataError(
            "no product has a place: no buyer has two events, of which the linear model learns; leave training.start "
            "at auto, which places products by their texts then"
        )
    export.export_buyer_tower(model, folder.buyer_tower)
    batch = some_histories(run, _PARITY_HISTORIES, np.random.default_rng(config.seed))
    graph = BuyerTower(folder.buyer_tower, config.thread_count)
    buyer = export.check_buyer_parity(model, graph, vectors, batch, config.encoder.parity_tolerance)
    log.info(f"graphs agree with torch: item tower to {item:.1e}, buyer tower to {buyer:.1e}")
    np.save(folder.embeddings, vectors, allow_pickle=False)
    np.save(folder.ids, np.array(run.data.products.ids, dtype=np.str_), allow_pickle=False)
    run.vocab.save(folder.vocab)
