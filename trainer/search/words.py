"""Builds the index of words: which products hold the stem of which word, with BM25 scores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

import numpy as np
from scipy import sparse

from trainer.data.catalogue import Products
from twotower.arrays import Float64
from twotower.search.word_index import STEM, WordIndex
from twotower.text.denials import ABSENCES
from twotower.text.words import indexed_words, is_number, stem

# how often a word counts that stands once in a field
_TITLE, _BRAND, _NAME, _DESCRIPTION = 1.0, 0.7, 0.5, 0.25
# what comes with a product is not the product: "سيارة لعبة مع شاحن" is no charger
_ADDED = 0.5
_WITH = frozenset({"مع", "with"})
# Robertson and Zaragoza (2009) give 1.2 to 2 and 0.5 to 0.8
_K1, _B = 1.2, 0.5


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
        held = Counter[str]()
        brand = indexed_words(products.brands[row])
        for field in fields:
            words = indexed_words(field.texts[row])
            if field.is_title:
                words = _without(words, brand)
            for word, share in _affirmed(words):
                if field.has_numbers or not is_number(word):
                    held[word] += field.weight * share  # type: ignore[assignment]
        lengths.append(float(held.total()))
        for word, count in [*held.items(), *_stems(held).items()]:
            entries.append((row, places.setdefault(word, len(places)), count))
    return _index(np.array(lengths), places, entries)


def _stems(held: Mapping[str, float]) -> Counter[str]:
    """How often a product holds each stem. A number has none."""
    stems = Counter[str]()
    for word, count in held.items():
        if not is_number(word):
            stems[STEM + stem(word)] += count  # type: ignore[assignment]
    return stems


def _affirmed(words: Sequence[str]) -> Iterator[tuple[str, float]]:
    """The words that no word before them denies, each with how much it counts: less after "with".

    A title with "بدون عطر" is none of a perfume, and nobody who wants no perfume wants it left out.
    """
    share = 1.0
    for before, word in pairwise(["", *words]):
        if word in _WITH:
            share = _ADDED
        if before not in ABSENCES:
            yield word, share


def _without(words: list[str], name: list[str]) -> list[str]:
    """The words without a name among them: half of all titles repeat their brand, which has a field of its own."""
    size = len(name)
    for start in range(len(words) - size + 1 if size else 0):
        if words[start : start + size] == name:
            return words[:start] + words[start + size :]
    return words


def _fields(products: Products, reads_descriptions: bool) -> list[_Field]:
    # a name is "path=value"
    attributes = [" ".join(name.partition("=")[2] for name in names) for names in products.attributes]
    fields = [
        _Field(products.titles, _TITLE, is_title=True),
        _Field(products.searched, _TITLE),
        _Field(products.brands, _BRAND),
        _Field(products.categories, _NAME),
        _Field(attributes, _NAME),
    ]
    return [*fields, _Field(products.descriptions, _DESCRIPTION, has_numbers=False)] if reads_descriptions else fields


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
    shortening = _K1 * (1 - _B + _B * lengths / max(float(lengths.mean()), 1e-9))
    scores = counts * (1 + _K1) / (counts + shortening[rows])
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
