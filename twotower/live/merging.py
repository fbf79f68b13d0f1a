"""A product of a version with its changes laid over it."""

from __future__ import annotations

from twotower.artifact.catalogue import Product
from twotower.live.records import CONTENT, DEFAULTS, Content, State


def merged(state: State, trained: Product | None) -> Product | None:
    """What the changes make of a product; None if they do not say all of one that the version lacks."""
    if state.is_whole:
        fields = {**DEFAULTS, **state.fields}
    elif trained is None:
        return None
    else:
        fields = {name: getattr(trained, name) for name in DEFAULTS} | dict(state.fields)
    if trained is None:
        return Product(id=state.product_id, row=-1, popularity=0.0, **fields)
    return trained._replace(skus="", **fields)


def content_of(product: Product) -> Content:
    """What the vectors of a product are made of."""
    return Content(*(getattr(product, name) for name in CONTENT))
