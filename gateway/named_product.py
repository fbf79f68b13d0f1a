"""The ids that a search may be: shoppers and staff paste product numbers."""

from __future__ import annotations

from gateway.schemas.requests import SearchQuery
from twotower.errors import InvalidInput
from twotower.events import check_id
from twotower.text.normalise import NUMERALS, searched_words


def named_ids(query: SearchQuery) -> list[str]:
    """The text of a search as an id or SKU may be written; none if the list is sorted by price."""
    if query.sort != "relevance":
        return []
    # with the signs around it and without, and with Latin digits
    written = (query.q, searched_words(query.q))
    forms = (*written, *(one.translate(NUMERALS) for one in written))
    return [one for one in dict.fromkeys(map(_as_id, forms)) if one]


def _as_id(text: str) -> str:
    """The text as ids are written; empty if it can be none."""
    try:
        return check_id(text, "q")
    except InvalidInput:
        return ""
