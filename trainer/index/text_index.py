"""The side of a version that finds products by words: their text vectors, an index, and how well that finds."""

from __future__ import annotations

import logging
import string
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from trainer.config.schema import Config
from trainer.errors import DataError
from trainer.index import build
from twotower.arrays import Float32, Int64
from twotower.artifact.manifest import TextSearch
from twotower.graphs.text_encoder import TextEncoder
from twotower.search.vector_index import VectorIndex, unit_rows

log = logging.getLogger(__name__)

_LISTED = 10


# words of random letters that tell what a cosine by chance is, and the share of them that stays below `noise`
_RANDOM_WORDS, _SHARE = 200, 0.95


_ALPHABETS = ("ابتثجحخدذرزسشصضطظعغفقكلمنهوي", string.ascii_lowercase)


_NONE = np.empty(0, np.int64)


class Folder(Protocol):
    """Where the files go: a run's folder, or a version's."""

    @property
    def text_embeddings(self) -> Path: ...
    @property
    def text_index(self) -> Path: ...


def write_text_search(
    texts: Float32, titles: Sequence[str], encoder: TextEncoder, folder: Folder, config: Config
) -> TextSearch:
    """Writes the text vectors [N, E], each of length 1, and their index, tuned on titles as shoppers would type them.

    An index kind that does not reach its target for texts, though it was asked for, is a flat one here, and said.
    """
    vectors = unit_rows(texts)
    np.save(folder.text_embeddings, vectors, allow_pickle=False)
    draw = np.random.default_rng(config.seed)
    rows = np.sort(draw.choice(len(titles), min(len(titles), build.QUERIES), replace=False))
    asked = unit_rows(encoder.encode([titles[row] for row in rows]))
    queries = build.Queries(asked, f"{len(rows):,} titles")
    built = _built(vectors, queries, config)
    build.write(built, folder.text_index)
    searcher = VectorIndex(built.index, vectors, built.spec, config.thread_count)
    places = _places(searcher, asked, [titles[row] for row in rows], titles)
    found = TextSearch(
        index=built.spec,
        titles=len(rows),
        found_first=float((places == 0).mean()),
        found_in_ten=float((places < _LISTED).mean()),
        noise=_noise(searcher, encoder, draw),
    )
    log.info(
        f"search: {build.told(built.spec)}, {len(vectors):,} x {vectors.shape[1]}; of {found.titles:,} titles "
        f"{found.found_first:.1%} find theirs first, {found.found_in_ten:.1%} among ten"
    )
    return found


def _built(vectors: Float32, queries: build.Queries, config: Config) -> build.Built:
    try:
        return build.build(vectors, queries, config.index, config.seed, config.thread_count)
    except DataError as error:
        log.warning(f"for texts a flat index is taken: {error}")
        flat = config.index.model_copy(update={"kind": "flat"})
        return build.build(vectors, queries, flat, config.seed, config.thread_count)


def _places(searcher: VectorIndex, asked: Float32, wanted: Sequence[str], titles: Sequence[str]) -> Int64:
    """The place [Q] of the first product of the very title in each answer, `_LISTED` where it is not among so many."""
    hits = searcher.search(asked, [_LISTED] * len(asked), [_NONE] * len(asked))
    return np.array([
        next((place for place, row in enumerate(one.rows.tolist()) if titles[row] == title), _LISTED)
        for one, title in zip(hits, wanted, strict=True)
    ], np.int64)  # fmt: skip


def _noise(searcher: VectorIndex, encoder: TextEncoder, draw: np.random.Generator) -> float:
    words = [
        "".join(draw.choice(list(_ALPHABETS[number % len(_ALPHABETS)]), draw.integers(4, 9)))
        for number in range(_RANDOM_WORDS)
    ]
    hits = searcher.search(unit_rows(encoder.encode(words)), [1] * len(words), [_NONE] * len(words))
    return float(np.quantile([one.scores[0] for one in hits], _SHARE))
