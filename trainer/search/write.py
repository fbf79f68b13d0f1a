"""Writes all that a search by text reads."""

from __future__ import annotations

import logging

from trainer.config.schema import Config
from trainer.data.catalogue import Products
from trainer.index.text_index import write_text_search
from trainer.search.weights import answered_above, choose_weights
from trainer.search.words import build_words
from trainer.text.vectors import titles_of
from twotower.arrays import Float32
from twotower.artifact.layout import VersionLayout
from twotower.artifact.manifest import TextSearch
from twotower.graphs.text_encoder import TextEncoder
from twotower.search.vector_index import unit_rows

log = logging.getLogger(__name__)


def write_search(
    products: Products, texts: Float32, encoder: TextEncoder, files: VersionLayout, config: Config
) -> TextSearch:
    """Writes the text vectors [N, E] with their index, and the index of words.

    The weights of words, and the score of an answer, are measured on queries made from the catalogue.
    """
    search = write_text_search(texts, titles_of(products), encoder, files, config)
    words = build_words(products, config.encoder.reads_descriptions)
    words.save(files)
    log.info(f"index of words: {len(words):,} words, {len(words.rows):,} entries")
    vectors = unit_rows(texts)
    weights, validation = choose_weights(products, vectors, words, encoder, config.seed)
    limits = answered_above(products, vectors, words, weights, encoder, config.seed)
    weights = weights.model_copy(update=config.search.model_dump())
    found = {"words": weights, "validation": validation}
    noise = {"noise_with_words": limits.unknown, "noise_of_known_words": limits.known}
    return search.model_copy(update={**found, **noise})
