"""The product whose id or SKU a search is: shoppers and staff paste product numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from retrieval_service.index import ProductIndex
from retrieval_service.query import Answer, Filter
from twotower.artifact.catalogue import Product
from twotower.errors import InvalidInput
from twotower.merging import named_score

# forms of one text: with the signs around it and without, each as typed and with Latin digits
_MOST = 4


class Named(NamedTuple):
    """The ids or SKUs that a search may be, and the filter of its caller."""

    ids: Sequence[str]
    filter: Filter


def named_first(index: ProductIndex, named: Named, excluded: Sequence[str], k: int, answer: Answer) -> Answer:
    """The answer with the named product first, if there is one that is not excluded and passes the filter.

    In an answer to be merged it stays where it is, and is named beside it if this shard holds it.

    Raises InvalidInput for more than four ids.
    """
    if len(named.ids) > _MOST:
        raise InvalidInput("named.ids", len(named.ids), f"ids are more than {_MOST}")
    ids = [one for one in named.ids if one not in excluded]
    found = next(
        (
            one
            for one in index.lookup(index.find_skus(ids))
            # an excluded product's SKU finds nothing, as its id does
            if one is not None and one.id not in excluded and _passes(one, named.filter)
        ),
        None,
    )
    if answer.merge is not None:
        is_ours = found is not None and index.holds(found.id)
        return answer._replace(merge=answer.merge._replace(named=found.id)) if found and is_ours else answer
    return answer if found is None else _put_first(found.id, answer, k)


def _put_first(product_id: str, answer: Answer, k: int) -> Answer:
    others = [place for place, one in enumerate(answer.product_ids) if one != product_id][: k - 1]
    scores = answer.scores[others]
    return answer._replace(
        product_ids=[product_id, *(answer.product_ids[place] for place in others)],
        scores=np.append(np.float32(named_score(scores)), scores),
        rows=np.append(-1, answer.rows[others]),
        is_below_noise=False,
    )


def _passes(product: Product, wanted: Filter) -> bool:
    return (
        (not wanted.categories or product.category in wanted.categories)
        and (not wanted.brands or product.brand in wanted.brands)
        and (wanted.in_stock is None or product.in_stock == wanted.in_stock)
        and _costs(product.price, wanted)
    )


def _costs(price: float | None, wanted: Filter) -> bool:
    """Whether the price is within the limits; a product without a price is within none."""
    if wanted.price_min is None and wanted.price_max is None:
        return True
    lowest, highest = wanted.price_min or 0.0, math.inf if wanted.price_max is None else wanted.price_max
    return price is not None and lowest <= price <= highest
