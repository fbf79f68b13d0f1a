"""Builds the index of words: which products hold the stem of which word, with BM25 scores."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

import numpy as np
from scipy import sparse

from trainer.data.catalogue import Products
from twotower.search.word_index import STEM, WordIndex
from twotower.text.product_words import BRAND, DESCRIPTION, K1, NAME, TITLE, B, Field, count_stems, count_words

# products whose scores are computed at a time
_PRODUCTS = 10_000


class _Field(NamedTuple):
    texts: list[str]
    weight: float
    has_numbers: bool = True
    is_title: bool = False


class _Entries(NamedTuple):
    """Which words each product holds, product after product, 8 bytes an entry.

    `places`: word → its number in `columns`. `columns`, `counts` [E]: a word, and how often its product holds it.
    `held`, `lengths` [N]: how many entries a product has, and how many words, weighted by field.
    """

    places: dict[str, int]
    columns: array[int]
    counts: array[float]
    held: array[int]
    lengths: array[float]

    def add(self, length: float, counted: Sequence[tuple[str, float]]) -> None:
        """Adds the next product."""
        self.lengths.append(length)
        self.held.append(len(counted))
        self.columns.extend(self.places.setdefault(word, len(self.places)) for word, _ in counted)
        self.counts.extend(count for _, count in counted)


def build_words(products: Products, reads_descriptions: bool) -> WordIndex:
    """The words of titles, brands, categories, attributes and `data.search_fields`, and of descriptions if these are
    read, at a quarter and without numbers: those of a description say less about the product than those of a title.
    """
    fields = _fields(products, reads_descriptions)
    entries = _Entries({}, array("i"), array("f"), array("i"), array("d"))
    for row in range(len(products)):
        # half of all titles repeat their brand, which has a field of its own
        brand = products.brands[row]
        held = count_words(
            Field(one.texts[row], one.weight, one.has_numbers, brand if one.is_title else "") for one in fields
        )
        entries.add(held.total(), [*held.items(), *count_stems(held, STEM).items()])
    return _index(entries)


def _fields(products: Products, reads_descriptions: bool) -> list[_Field]:
    # a name is "path=value"
    attributes = [" ".join(name.partition("=")[2] for name in names) for names in products.attributes]
    fields = [
        _Field(products.titles, TITLE, is_title=True),
        _Field(products.searched, TITLE),
        _Field(products.brands, BRAND),
        _Field(products.categories, NAME),
        _Field(attributes, NAME),
    ]
    return [*fields, _Field(products.descriptions, DESCRIPTION, has_numbers=False)] if reads_descriptions else fields


def _index(entries: _Entries) -> WordIndex:
    size, lengths = len(entries.lengths), np.frombuffer(entries.lengths)
    counts = np.frombuffer(entries.counts, np.float32)
    # words in the order of their bytes, in which a search looks them up
    encoded = sorted((word.encode(), column) for word, column in entries.places.items())
    order = np.empty(len(encoded), np.int32)
    order[[column for _, column in encoded]] = np.arange(len(encoded))
    shortening = K1 * (1 - B + B * lengths / max(float(lengths.mean()), 1e-9))
    ends = np.cumsum(np.frombuffer(entries.held, np.int32), dtype=np.int64)
    scores = np.empty(len(counts), np.float32)
    for start in range(0, size, _PRODUCTS):
        part = slice(start, start + _PRODUCTS)
        shortened = np.repeat(shortening[part], np.frombuffer(entries.held, np.int32)[part])
        begin = int(ends[start - 1]) if start else 0
        own = slice(begin, begin + len(shortened))
        scores[own] = counts[own] * (1 + K1) / (counts[own] + shortened)
    by_product = sparse.csr_matrix(
        (scores, order[np.frombuffer(entries.columns, np.int32)], np.append(0, ends)), (size, len(encoded))
    )
    # words by products; the products of each word come in their order
    matrix = by_product.T.tocsr()
    held = np.diff(matrix.indptr)
    return WordIndex(
        size,
        np.frombuffer(b"".join(word for word, _ in encoded), np.uint8),
        np.array([0, *accumulate(len(word) for word, _ in encoded)], np.int64),
        np.log1p((size - held + 0.5) / (held + 0.5)).astype(np.float32),
        matrix.indptr.astype(np.int64),
        matrix.indices.astype(np.int32, copy=False),
        matrix.data,
    )
