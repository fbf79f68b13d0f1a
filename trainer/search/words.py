"""Builds the index of words: which products hold the stem of which word, with BM25 scores."""

from __future__ import annotations

from itertools import accumulate
from typing import NamedTuple

import numpy as np
from scipy import sparse

from trainer.data.catalogue import Products
from twotower.arrays import Float64
from twotower.search.word_index import STEM, WordIndex
from twotower.text.product_words import BRAND, DESCRIPTION, K1, NAME, TITLE, B, Field, count_stems, count_words


class _Field(NamedTuple):
    texts: list[str]
    weight: float
    has_numbers: bool = True
    is_title: bool = False


def build_words(products: Products, reads_descriptions: bool) -> WordIndex:
    """The words of titles, brands, categories, attributes and `data.search_fields`, and of descriptions if these are
    read, at a quarter and without numbers: those of a description say less about the product than those of a title.
    """
    fields = _fields(products, reads_descriptions)
    places: dict[str, int] = {}
    entries: list[tuple[int, int, float]] = []
    lengths = list[float]()
    for row in range(len(products)):
        # half of all titles repeat their brand, which has a field of its own
        brand = products.brands[row]
        held = count_words(
            Field(one.texts[row], one.weight, one.has_numbers, brand if one.is_title else "") for one in fields
        )
        lengths.append(float(held.total()))
        for word, count in [*held.items(), *count_stems(held, STEM).items()]:
            entries.append((row, places.setdefault(word, len(places)), count))
    return _index(np.array(lengths), places, entries)


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


def _index(lengths: Float64, places: dict[str, int], entries: list[tuple[int, int, float]]) -> WordIndex:
    """`lengths` [N]: how many words each product holds. `entries` [E]: product, word, how often the product holds it.
    `places`: word → its number there.
    """
    size = len(lengths)
    rows = np.array([row for row, _, _ in entries], np.int64)
    columns = np.array([column for _, column, _ in entries], np.int64)
    counts = np.array([count for _, _, count in entries], np.float32)
    # words in the order of their bytes, in which a search looks them up
    encoded = sorted((word.encode(), column) for word, column in places.items())
    order = np.empty(len(places), np.int64)
    order[[column for _, column in encoded]] = np.arange(len(places))
    shortening = K1 * (1 - B + B * lengths / max(float(lengths.mean()), 1e-9))
    scores = counts * (1 + K1) / (counts + shortening[rows])
    matrix = sparse.csr_matrix((scores.astype(np.float32), (order[columns], rows)), (len(places), size))
    matrix.sort_indices()
    held = np.diff(matrix.indptr)
    return WordIndex(
        size,
        np.frombuffer(b"".join(word for word, _ in encoded), np.uint8),
        np.array([0, *accumulate(len(word) for word, _ in encoded)], np.int64),
        np.log1p((size - held + 0.5) / (held + 0.5)).astype(np.float32),
        matrix.indptr.astype(np.int64),
        matrix.indices.astype(np.int32),
        matrix.data,
    )
