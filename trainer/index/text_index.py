"""Builds and writes the text index of a version, and measures how well it finds products by their titles."""

from __future__ import annotations

import logging
import string
from collections.abc import Sequence

import numpy as np

from trainer.config.schema import Config
from trainer.errors import DataError
from trainer.index import build
from trainer.index.nearest_graph import write_nearest
from trainer.index.shards import write_shards
from twotower.arrays import Float32, Int64
from twotower.artifact.fsync import write_atomically
from twotower.artifact.layout import VersionLayout
from twotower.artifact.manifest import TextSearch
from twotower.graphs.text_encoder import TextEncoder
from twotower.search.milvus import KIND
from twotower.search.vector_index import VectorIndex, map_vectors, save_unit_rows, unit_rows

log = logging.getLogger(__name__)

_LISTED = 10
# words of random letters show which cosine is reached by chance: `noise` is this quantile of their best cosines
_RANDOM_WORDS, _QUANTILE = 200, 0.95
_ALPHABETS = ("ابتثجحخدذرزسشصضطظعغفقكلمنهوي", string.ascii_lowercase)
_NONE = np.empty(0, np.int64)


def write_text_search(
    texts: Float32, titles: Sequence[str], encoder: TextEncoder, files: VersionLayout, config: Config
) -> TextSearch:
    """Writes the text vectors [N, E], scaled to length 1, and their index, tuned with titles as queries.

    If the configured kind misses its target for texts, the index is flat, and a warning is logged.
    """
    with write_atomically(files.text_embeddings) as temporary:
        save_unit_rows(texts, temporary)
    vectors = map_vectors(files.text_embeddings)
    draw = np.random.default_rng(config.seed)
    rows = np.sort(draw.choice(len(titles), min(len(titles), build.QUERIES), replace=False))
    wanted = [titles[row] for row in rows]
    asked = unit_rows(encoder.encode(wanted))
    queries = build.Queries(asked, f"{len(rows):,} titles")
    built = _build_or_flat(vectors, queries, config)
    build.write(built, files.text_index)
    write_shards(built, vectors, config.index.shards, files.text_index_of, config.thread_count)
    files.nearest_texts.unlink(missing_ok=True)
    if build.is_small(built):
        write_nearest(files.text_embeddings, files.nearest_texts)
    searcher = VectorIndex(built.index, vectors, built.spec, config.thread_count)
    places = _places(searcher, asked, wanted, titles)
    search = TextSearch(
        index=built.spec,
        titles=len(rows),
        found_first=float((places == 0).mean()),
        found_in_ten=float((places < _LISTED).mean()),
        noise=_noise(searcher, encoder, draw),
    )
    log.info(
        f"text search: {build.describe(built.spec)}, {len(vectors):,} x {vectors.shape[1]}; of {search.titles:,} "
        f"titles {search.found_first:.1%} find their product first, {search.found_in_ten:.1%} among ten"
    )
    return search


def _build_or_flat(vectors: Float32, queries: build.Queries, config: Config) -> build.BuiltIndex:
    # a search by text joins vectors and words, and the words are here
    index = config.index.model_copy(update={"kind": "auto"}) if config.index.kind == KIND else config.index
    try:
        return build.build(vectors, queries, index, config.seed, config.thread_count)
    except DataError as error:
        log.warning(f"the text index is flat: {error}")
        flat = config.index.model_copy(update={"kind": "flat"})
        return build.build(vectors, queries, flat, config.seed, config.thread_count)


def _places(searcher: VectorIndex, asked: Float32, wanted: Sequence[str], titles: Sequence[str]) -> Int64:
    """Returns the place [Q] of the first result with the wanted title; `_LISTED` if there is none among so many."""
    hits = searcher.search(asked, [_LISTED] * len(asked), [_NONE] * len(asked))
    places = [
        next((place for place, row in enumerate(one.rows.tolist()) if titles[row] == title), _LISTED)
        for one, title in zip(hits, wanted, strict=True)
    ]
    return np.array(places, np.int64)


def _noise(searcher: VectorIndex, encoder: TextEncoder, draw: np.random.Generator) -> float:
    """Returns the cosine that 95 % of words of random letters stay below with their best result."""
    words = [
        "".join(draw.choice(list(_ALPHABETS[number % len(_ALPHABETS)]), draw.integers(4, 9)))
        for number in range(_RANDOM_WORDS)
    ]
    hits = searcher.search(unit_rows(encoder.encode(words)), [1] * len(words), [_NONE] * len(words))
    return float(np.quantile([one.scores[0] for one in hits], _QUANTILE))
