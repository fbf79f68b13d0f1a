"""What conditions are put together from: the fields of products, the facts of a request, comparisons, and, or, not.

A comparison with something that is not known, such as the price of a product without one, is false.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["text", "number", "flag"]
Value = str | float | bool
# what a request is about; a set of texts equals each of its members
Fact = str | float | bool | frozenset[str]
PRODUCT_FIELDS: Mapping[str, Kind] = {
    "product_id": "text",
    "brand": "text",
    "category": "text",
    "price": "number",
    "in_stock": "flag",
    "age_days": "number",
}
FACTS: Mapping[str, Kind] = {
    "buyer.id": "text",
    "buyer.guest": "flag",
    "buyer.known": "flag",
    "buyer.events": "number",
    "buyer.days_since": "number",
    "buyer.did": "text",
    "buyer.products": "text",
    "request.query": "text",
    "request.product_id": "text",
}


@dataclass(frozen=True)
class Constant:
    """Always true, or always false."""

    value: bool


@dataclass(frozen=True)
class Comparison:
    """A field, and the values it may have (`=`), a word that it has (`has`), or the limit on one side of it."""

    field: str
    operator: Literal["=", "<", "<=", ">", ">=", "has"]
    values: tuple[Value, ...]


@dataclass(frozen=True)
class Not:
    part: Condition


@dataclass(frozen=True)
class All:
    parts: tuple[Condition, ...]


@dataclass(frozen=True)
class Any:
    parts: tuple[Condition, ...]


Condition = Constant | Comparison | Not | All | Any
ALWAYS, NEVER = Constant(True), Constant(False)


def both(*parts: Condition) -> Condition:
    """True where all parts are."""
    left = [one for one in parts if one != ALWAYS]
    if NEVER in left:
        return NEVER
    return left[0] if len(left) == 1 else All(tuple(left)) if left else ALWAYS


def either(*parts: Condition) -> Condition:
    """True where one of the parts is."""
    left = [one for one in parts if one != NEVER]
    if ALWAYS in left:
        return ALWAYS
    return left[0] if len(left) == 1 else Any(tuple(left)) if left else NEVER


def negated(part: Condition) -> Condition:
    """True where the part is not."""
    match part:
        case Constant(value):
            return Constant(not value)
        case Not(inner):
            return inner
        case _:
            return Not(part)


def is_one_of(field: str, values: Sequence[Value]) -> Condition:
    """True of products whose field has one of these values."""
    return Comparison(field, "=", tuple(values)) if values else NEVER


def comparisons(condition: Condition) -> list[Comparison]:
    """All comparisons in it, in their order."""
    match condition:
        case Comparison():
            return [condition]
        case Not(part):
            return comparisons(part)
        case All(parts) | Any(parts):
            return [found for one in parts for found in comparisons(one)]
        case _:
            return []


def has_facts(condition: Condition) -> bool:
    """Whether it depends on more than the product."""
    return any(one.field in FACTS for one in comparisons(condition))
