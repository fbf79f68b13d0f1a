"""Finds the names of brands and categories among the words of a query."""

from __future__ import annotations

from dataclasses import replace

from item_service.query.known_words import KnownWords
from item_service.query.query import Query


def name_parts(query: Query, known: KnownWords) -> Query:
    """Notes the brand and the category that stand in the text; they filter nothing."""
    return replace(query, brand=known.brand_in(query.words), category=known.category_in(query.words))
