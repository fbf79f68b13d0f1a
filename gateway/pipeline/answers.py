"""What the flows answer with."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

from gateway.clients.answers import EncodedBuyer, Hits
from gateway.reasons import Reason
from twotower.errors import (
    TwoTowerError,
)
from twotower.experiments import Assignment
from twotower.pb import item_pb2, retrieval_pb2

Source = Literal["model", "popular", "again", "trending", "together"]


class ProductList(NamedTuple):
    """A list of products; `products` holds their details if the caller asked for them."""

    hits: Hits
    source: Source
    warnings: list[str]
    products: list[retrieval_pb2.Product] | None
    # of a search: how its words were understood
    understood: item_pb2.Understood | None = None
    # one per product, if the caller asked for them
    reasons: list[Reason] | None = None
    # the products that exploration put in, one a line
    explored: str = ""
    # of an experiment: its arm
    assignment: Assignment | None = None
    # product -> the rule that moved it to its place
    placed_by: Mapping[str, str] = MappingProxyType({})
    # of rising products: when buyers were counted
    counted: retrieval_pb2.Counted | None = None


class BuyerEncoding(NamedTuple):
    """A buyer's vector, and how many interactions were stored."""

    encoded: EncodedBuyer
    stored: int
    warnings: list[str]


class Added(NamedTuple):
    """How many interactions were stored, and the products that the served version does not know."""

    stored: int
    unknown_product_ids: list[str]
    warnings: list[str]


class KnownBuyer(NamedTuple):
    """A buyer's stored history, oldest first, packed, and the dismissed products; or why there is none."""

    history: str
    dismissed: list[str]
    failure: TwoTowerError | None
