"""What the search for words costs a large shop: the index beside that of the text vectors alone, and the item service.

A synthetic market of `--products` products, read by the text encoder of a version. Memory is that of the files, which
services map: text vectors and their index, then the index of words. Build times are processor time of one process:
encoding and indexing the texts; then counting the words, choosing their weights, and the evidence of an answer.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from demo.market.generate import generate
from item_service.queries import QueryEncoder, Typed
from item_service.query.shop_synonyms import ShopSynonyms
from item_service.query.understanding import STEPS
from trainer.config.loading import load_config
from trainer.data.catalogue import Products, read_products
from trainer.data.rejects import RowChecks, open_rejects
from trainer.index.text_index import write_text_search
from trainer.release.search_words import WordCounter
from trainer.search.weights import answered_above, choose_weights
from trainer.search.words import build_words
from trainer.text.vectors import texts_of, titles_of
from twotower.artifact.catalogue import Product
from twotower.artifact.layout import VersionLayout
from twotower.graphs.text_encoder import TextEncoder
from twotower.search.vector_index import unit_rows
from twotower.search.word_index import word_files


class IndexCost(NamedTuple):
    """Megabytes of files and seconds of processor time for building, by vectors alone and what words add; seconds until
    the item service understands its first query.
    """

    products: int
    vectors_mb: float
    words_mb: float
    memory_ratio: float
    vectors_s: float
    words_s: float
    build_ratio: float
    item_load_s: float


def measure_index(encoder: TextEncoder, count: int) -> IndexCost:
    """Builds both indexes of `count` products in a folder that is removed again."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        generate(folder, products=count, buyers=1000, events=20_000)
        config = load_config([], ["encoder.name=catalogue", "encoder.descriptions=true"])
        with open_rejects(folder / "rejects.csv") as rejects:
            products = read_products([folder / "products.csv"], config.data, RowChecks("products", rejects))
        files = VersionLayout(folder / "version")
        files.root.mkdir()
        started = time.process_time()
        vectors = unit_rows(encoder.encode(texts_of(products)))
        write_text_search(vectors, titles_of(products), encoder, files, config)
        middle = time.process_time()
        words = build_words(products, reads_descriptions=True)
        words.save(files)
        weights, _ = choose_weights(products, vectors, words, encoder, config.seed)
        answered_above(products, vectors, words, weights, encoder, config.seed)
        ended = time.process_time()
        alone, more = _megabytes([files.text_embeddings, files.text_index]), _megabytes(word_files(files))
        before, added = middle - started, ended - middle
        load = _load(products, encoder)
        return IndexCost(count, alone, more, 1 + more / alone, before, added, 1 + added / before, load)


def _megabytes(files: Sequence[Path]) -> float:
    return sum(one.stat().st_size for one in files) / 1e6


def _load(products: Products, encoder: TextEncoder) -> float:
    """Seconds from the words of a version to the first query that is understood."""
    counter = WordCounter()
    for _ in counter.count(_rows(products)):
        pass
    words = counter.search_words({}, {})
    started = time.process_time()
    QueryEncoder(encoder, words, ShopSynonyms(None), STEPS, 2000).encode([Typed("khatem dahab")])
    return time.process_time() - started


def _rows(products: Products) -> list[Product]:
    columns = zip(
        products.ids, products.titles, products.descriptions, products.brands, products.categories, strict=True
    )
    return [
        Product(ident, row, title, description, brand, category, None, "", True, 0.0)
        for row, (ident, title, description, brand, category) in enumerate(columns)
    ]
