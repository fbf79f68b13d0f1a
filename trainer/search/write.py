"""Writes all that a search by text reads."""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

from trainer.config.schema import Config
from trainer.data.catalogue import Products
from trainer.data.searches import SearchedWords, Searches
from trainer.index.text_index import write_text_search
from trainer.search.learning import Learned, Ranking, learn
from trainer.search.searched import describe_searches, popular_queries, propose_synonyms, strange_words
from trainer.search.weights import answered_above, choose_weights
from trainer.search.wordings import Wordings, count_wordings
from trainer.search.words import build_words
from trainer.text.vectors import titles_of
from twotower.arrays import Float32
from twotower.artifact.layout import VersionLayout
from twotower.artifact.manifest import TextSearch
from twotower.graphs.text_encoder import TextEncoder
from twotower.search.vector_index import map_vectors
from twotower.search.word_index import WordIndex

log = logging.getLogger(__name__)


class WrittenSearch(NamedTuple):
    """What was measured, and what searches taught."""

    search: TextSearch
    searches: SearchedWords


def write_search(
    products: Products, texts: Float32, encoder: TextEncoder, files: VersionLayout, config: Config, searches: Searches
) -> WrittenSearch:
    """Writes the text vectors [N, E] with their index, the index of words, and what is learned from searches.

    The weights of words, and the evidence of an answer, are measured on queries made from the catalogue.
    """
    search = write_text_search(texts, titles_of(products), encoder, files, config)
    words = build_words(products, config.encoder.reads_descriptions)
    words.save(files)
    log.info(f"index of words: {len(words):,} words, {len(words.rows):,} entries")
    vectors = map_vectors(files.text_embeddings)
    weights, validation = choose_weights(products, vectors, words, encoder, config.seed)
    wordings = count_wordings(searches.pairs, len(products), config.searches.min_buyers)
    learned = _learn(wordings, products, Ranking(vectors, words, weights), encoder, config)
    if learned.ngrams:
        learned.ngrams.save(files.query_ngram_ids, files.query_ngrams)
        encoder = encoder.for_queries(learned.ngrams)
    limit = answered_above(products, vectors, words, weights, encoder, config.seed)
    weights = weights.model_copy(update=config.search.model_dump())
    found = {"words": weights, "validation": validation, "noise_with_words": limit}
    return WrittenSearch(
        search.model_copy(update=found),
        SearchedWords(
            _facts(searches, wordings, products, words, learned, config.searches.min_buyers),
            popular_queries(wordings, config.searches.suggest_buyers),
            strange_words(wordings, words) if learned.ngrams else {},
        ),
    )


def _learn(wordings: Wordings, products: Products, ranking: Ranking, encoder: TextEncoder, config: Config) -> Learned:
    if not config.searches.learn:
        return Learned(None, "it is off (searches.learn)")
    learned = learn(wordings, products, ranking, encoder, config.seed)
    if len(wordings.texts):
        log.info(f"learning from searches: {'kept' if learned.ngrams else 'not kept'}: {learned.reason}")
    return learned


def _facts(
    searches: Searches, wordings: Wordings, products: Products, words: WordIndex, learned: Learned, min_buyers: int
) -> dict[str, Any]:
    return describe_searches(searches, products, min_buyers) | {
        "min_buyers": min_buyers,
        "synonyms": propose_synonyms(wordings, products, words, min_buyers),
        "learning": learned.facts() | {"wordings": len(wordings.texts)},
    }
