"""The stage `index`: builds the search indexes."""

from __future__ import annotations

import numpy as np

from trainer.index import build as index
from trainer.index import product_index as item_side
from trainer.index.text_index import write_text_search
from trainer.stages.workspace import Prepared, require, some_histories, write_json
from trainer.text.vectors import titles_of
from twotower.arrays import Float32
from twotower.graphs.text_encoder import TextEncoder


def build_index(run: Prepared) -> None:
    """Vectors → FAISS indexes of the configured kind: of the item tower's, tuned on real buyers, and of the texts'."""
    for path in (run.folder.embeddings, run.folder.buyer_tower):
        require(path, "embed")
    vectors = np.load(run.folder.embeddings, allow_pickle=False)
    queries = _index_queries(run, vectors, run.config.thread_count)
    spec = item_side.write_index(vectors, queries, run.folder, run.config)
    texts, titles = run.features.text.cpu().numpy(), titles_of(run.data.products)
    encoder = TextEncoder.load(run.layout.encoder(run.encoder_digest), run.config.thread_count)
    found = write_text_search(texts, titles, encoder, run.folder, run.config)
    write_json(run.folder.text_search, found.model_dump())
    write_json(run.folder.index_spec, spec.model_dump())


def _index_queries(run: Prepared, vectors: Float32, threads: int) -> index.Queries:
    """Vectors of real histories, out of the exported buyer tower; of products with noise where there are no buyers."""
    if not run.data.buyers:
        return index.item_queries(vectors, run.config.seed)
    batch = some_histories(run, index.QUERIES, np.random.default_rng(run.config.seed))
    return item_side.buyer_queries(vectors, batch, run.folder.buyer_tower, threads)
