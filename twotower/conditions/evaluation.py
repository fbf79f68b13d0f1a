"""What conditions are true of: products of a table, facts of a request, or all requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Protocol

import numpy as np

from twotower.arrays import Float64, Mask
from twotower.conditions.language import (
    FACTS,
    PRODUCT_FIELDS,
    All,
    Any,
    Comparison,
    Condition,
    Constant,
    Fact,
    Not,
    both,
    either,
    negated,
)


class Table(Protocol):
    """The fields of M products."""

    @property
    def size(self) -> int: ...
    def equal(self, field: str, values: Sequence[str]) -> Mask:
        """Which products have one of these texts [M]."""

    def number(self, field: str) -> Float64:
        """[M], NaN where it is not known."""

    def flag(self, field: str) -> Mask:
        """[M]."""


def given(condition: Condition, facts: Mapping[str, Fact]) -> Condition:
    """What the condition says of products alone, once these facts are known; other facts are not known."""
    match condition:
        case Comparison(field) if field in FACTS:
            return Constant(field in facts and _holds(condition, facts[field]))
        case Not(part):
            return negated(given(part, facts))
        case All(parts):
            return both(*(given(one, facts) for one in parts))
        case Any(parts):
            return either(*(given(one, facts) for one in parts))
        case _:
            return condition


def products_of(condition: Condition, possible: bool = True) -> Condition:
    """What the condition says of products for some request: it is true of every product that a request can mean.

    With `possible` False, of every product that all requests mean.
    """
    match condition:
        case Comparison(field) if field in FACTS:
            return Constant(possible)
        case Not(part):
            return negated(products_of(part, not possible))
        case All(parts):
            return both(*(products_of(one, possible) for one in parts))
        case Any(parts):
            return either(*(products_of(one, possible) for one in parts))
        case _:
            return condition


def matches(condition: Condition, table: Table) -> Mask:
    """Which products [M] of a table it is true of. It must be free of facts."""
    match condition:
        case Constant(value):
            return np.full(table.size, value)
        case Not(part):
            return ~matches(part, table)
        case All(parts):
            return reduce(np.logical_and, (matches(one, table) for one in parts))
        case Any(parts):
            return reduce(np.logical_or, (matches(one, table) for one in parts))
        case Comparison():
            return _compare(condition, table)


def _compare(one: Comparison, table: Table) -> Mask:
    kind = PRODUCT_FIELDS[one.field]
    if kind == "text":
        return table.equal(one.field, [str(value) for value in one.values])
    if kind == "flag":
        flagged: Mask = np.isin(table.flag(one.field), np.array(one.values, np.bool_))
        return flagged
    numbers, limit = table.number(one.field), float(one.values[0])
    found: Mask
    match one.operator:
        case "<":
            found = numbers < limit
        case "<=":
            found = numbers <= limit
        case ">":
            found = numbers > limit
        case ">=":
            found = numbers >= limit
        case _:
            found = np.isin(numbers, np.array(one.values, np.float64))
    return found


def _holds(one: Comparison, fact: Fact) -> bool:
    if isinstance(fact, frozenset):
        return not fact.isdisjoint(one.values)
    if one.operator == "=":
        return fact in one.values
    if one.operator == "has":
        return str(one.values[0]).casefold() in str(fact).casefold().split()
    limit, number = float(one.values[0]), float(fact)
    match one.operator:
        case "<":
            return number < limit
        case "<=":
            return number <= limit
        case ">":
            return number > limit
        case _:
            return number >= limit
