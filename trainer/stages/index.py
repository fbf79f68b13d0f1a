"""The stage `index`: builds the indexes of the product vectors, of the text vectors and of words."""

from __future__ import annotations

import numpy as np

from trainer.index import build
from trainer.index.product_index import buyer_queries, write_index
from trainer.native_memory import release
from trainer.search.write import write_search
from trainer.stages.together import write_complements
from trainer.stages.workspace import Run, require, some_histories
from twotower.arrays import Float32
from twotower.artifact.fsync import write_json
from twotower.artifact.manifest import IndexSpec
from twotower.graphs.text_encoder import TextEncoder
from twotower.search.vector_index import map_vectors


def build_index(run: Run) -> None:
    """Builds two indexes of the configured kind, the index of words and the table of complements."""
    files = run.workspace.version
    for path in (files.embeddings, files.buyer_tower):
        require(path, "embed")
    spec = _index_products(run)
    _index_texts(run)
    # the pages of both tables of vectors, which are mapped files
    release()
    write_complements(run)
    write_json(run.workspace.index_spec, spec.model_dump())


def _index_products(run: Run) -> IndexSpec:
    vectors = map_vectors(run.workspace.version.embeddings)
    queries = _index_queries(run, vectors, run.config.thread_count)
    return write_index(vectors, queries, run.workspace.version, run.config, run.data.products)


def _index_texts(run: Run) -> None:
    encoder = TextEncoder.load(run.layout.encoder(run.encoder_digest), run.config.thread_count)
    texts = run.features.text.cpu().numpy()
    files = run.workspace.version
    written = write_search(run.data.products, texts, encoder, files, run.config, run.data.searches)
    write_json(run.workspace.text_search, written.search.model_dump())
    write_json(run.workspace.searches, written.searches._asdict())


def _index_queries(run: Run, vectors: Float32, threads: int) -> build.Queries:
    """Buyer vectors on which the index is tuned; product vectors with noise if there are no buyers."""
    if not run.data.buyers:
        return build.item_queries(vectors, run.config.seed)
    batch = some_histories(run, build.QUERIES, np.random.default_rng(run.config.seed))
    return buyer_queries(vectors, batch, run.workspace.version.buyer_tower, threads)
