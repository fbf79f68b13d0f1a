"""Indexes of words of a few titles."""

from __future__ import annotations

from collections.abc import Sequence

from trainer.data.catalogue import Products
from trainer.search.words import build_words
from twotower.search.word_index import WordIndex


def products_of_titles(titles: Sequence[str], **columns: list[str]) -> Products:
    """Products "p0".. with these titles; `columns` are further columns."""
    count, empty = len(titles), [""] * len(titles)
    texts = {"descriptions": empty, "brands": empty, "categories": empty, "searched": empty} | columns
    return Products(
        ids=[f"p{row}" for row in range(count)],
        titles=list(titles),
        prices=[None] * count,
        currencies=empty,
        in_stock=[True] * count,
        attributes=[()] * count,
        **texts,
    )


def words_index(titles: Sequence[str]) -> WordIndex:
    return build_words(products_of_titles(titles), reads_descriptions=False)
