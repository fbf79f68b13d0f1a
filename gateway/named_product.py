"""The product whose id or SKU a search is: shoppers and staff paste product numbers."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable

import numpy as np

from gateway.clients.deadline import Deadline
from gateway.clients.hits import join, take
from gateway.clients.services import Hits, RetrievalClient
from gateway.schemas.requests import SearchQuery
from twotower.conditions import is_one_of, write
from twotower.errors import InvalidInput
from twotower.events import check_id
from twotower.pb import retrieval_pb2
from twotower.serving import wire
from twotower.text.normalise import NUMERALS, searched_words

# at least the cosine of a text with itself
_SCORE = 1.0


async def find_named(retrieval: RetrievalClient, query: SearchQuery, version: str, deadline: Deadline) -> str | None:
    """The id of the product that the query names, if the filters and exclusions of the query leave it.

    None if the list is sorted by price.
    """
    if query.sort != "relevance":
        return None
    # with the signs around it and without, and with Latin digits
    written = (query.q, searched_words(query.q))
    forms = (*written, *(one.translate(NUMERALS) for one in written))
    names = [one for one in dict.fromkeys(map(_as_id, forms)) if one and one not in query.exclude]
    # an excluded product's SKU finds nothing, as its id does
    found = await retrieval.find_skus(names, version, deadline)
    return next(
        (one.product_id for one in found if one.found and one.product_id not in query.exclude and _passes(one, query)),
        None,
    )


async def put_first(
    product_id: str, hits: Hits, asked: retrieval_pb2.Query, ask: Callable[[retrieval_pb2.Query], Awaitable[Hits]]
) -> Hits:
    """The hits of a query with this product first, whatever its text is; `ask` finds it if it is not among them."""
    if product_id not in wire.unpack_ids(hits.packed_ids):
        alone = retrieval_pb2.Query()
        alone.CopyFrom(asked)
        alone.k, alone.diversity = 1, 0.0
        alone.filter.where = write(is_one_of("product_id", [product_id]))
        # nothing is found of one that has been hidden since, or that an excluded word of the search names
        hits = join([hits, await ask(alone)])
    ids = wire.unpack_ids(hits.packed_ids)
    if product_id not in ids:
        return hits
    place = ids.index(product_id)
    order = [place, *(one for one in range(len(ids)) if one != place)][: asked.k]
    scores = hits.scores.copy()
    scores[place] = max(_SCORE, scores.max())
    return take(hits._replace(scores=scores, is_below_noise=False), np.array(order, np.int64))


def _as_id(text: str) -> str:
    """The text as ids are written; empty if it can be none."""
    try:
        return check_id(text, "q")
    except InvalidInput:
        return ""


def _passes(product: retrieval_pb2.Product, query: SearchQuery) -> bool:
    return (
        (not query.category or product.category in query.category)
        and (not query.brand or product.brand in query.brand)
        and (query.in_stock is None or product.in_stock == query.in_stock)
        and _costs(product, query)
    )


def _costs(product: retrieval_pb2.Product, query: SearchQuery) -> bool:
    """Whether the price is within the limits; a product without a price has none."""
    if query.price_min is None and query.price_max is None:
        return True
    lowest, highest = query.price_min or 0.0, math.inf if query.price_max is None else query.price_max
    return product.HasField("price") and lowest <= product.price <= highest
