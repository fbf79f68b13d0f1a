"""Conditions over catalogue fields and over facts of a request: parsed from text, never evaluated as code.

    brand = "لازوردي" and price < 200 and not (category in ["عطور", "تمور"]) and buyer.guest = true

A comparison with something that is not known, such as the price of a product without one, is false. Texts are in
double quotes, as JSON has them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce
from typing import Literal, NamedTuple, Protocol

import numpy as np

from twotower.arrays import Float64, Mask

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
_KNOWN = {**PRODUCT_FIELDS, **FACTS}
_OPERATORS: Mapping[Kind, Sequence[str]] = {
    "text": ("=", "!=", "in", "has"),
    "number": ("=", "!=", "<", "<=", ">", ">=", "in"),
    "flag": ("=", "!="),
}
_MAX_DEPTH = 60
_TOKEN = re.compile(
    r"""\s*(?:(?P<text>"(?:[^"\\\x00-\x1f]|\\.)*")|(?P<number>-?\d{1,15}(?:\.\d{1,15})?)(?![\w.])"""
    r"""|(?P<name>[A-Za-z_][A-Za-z_.]*)|(?P<sign><=|>=|!=|[=<>()\[\],])|(?P<wrong>\S)|(?P<end>\Z))""",
    re.ASCII,
)


class ConditionError(ValueError):
    """A text is no condition; the message says where, counted in characters from 1, and what is wrong."""

    def __init__(self, place: int, problem: str) -> None:
        super().__init__(f"character {place + 1}: {problem}")


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


@lru_cache(1024)
def parse(text: str) -> Condition:
    """The condition that a text says; the empty text is true of everything. Raises ConditionError."""
    return _Parser(text).condition() if text.strip() else ALWAYS


def write(condition: Condition) -> str:
    """The text that `parse` reads as this condition."""
    match condition:
        case Constant(value):
            return "" if value else "product_id in []"
        case Comparison(field, "=", (value,)):
            return f"{field} = {_written(value)}"
        case Comparison(field, "=", values):
            return f"{field} in [{', '.join(map(_written, values))}]"
        case Comparison(field, operator, values):
            return f"{field} {operator} {_written(values[0])}"
        case Not(part):
            return f"not ({write(part)})"
        case All(parts):
            return " and ".join(f"({write(one)})" for one in parts)
        case Any(parts):
            return " or ".join(f"({write(one)})" for one in parts)


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


def _written(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else f"{value:.15f}".rstrip("0").rstrip(".")


class _Token(NamedTuple):
    kind: str
    text: str
    place: int


class _Parser:
    """Recursive descent: `or` binds least, then `and`, then `not`."""

    def __init__(self, text: str) -> None:
        self._tokens = _tokens(text)
        self._at = 0
        self._depth = 0

    def condition(self) -> Condition:
        found = self._either()
        if self._next.kind != "end":
            raise self._wrong("expected and, or, or the end")
        return found

    @property
    def _next(self) -> _Token:
        return self._tokens[self._at]

    def _take(self) -> _Token:
        self._at += 1
        return self._tokens[self._at - 1]

    def _skip(self, text: str) -> bool:
        found = self._next.kind in ("name", "sign") and self._next.text == text
        self._at += found
        return found

    def _wrong(self, problem: str) -> ConditionError:
        token = self._next
        return ConditionError(token.place, f"{problem}, not {token.text or 'the end'}")

    def _either(self) -> Condition:
        parts = [self._both()]
        while self._skip("or"):
            parts.append(self._both())
        return parts[0] if len(parts) == 1 else Any(tuple(parts))

    def _both(self) -> Condition:
        parts = [self._one()]
        while self._skip("and"):
            parts.append(self._one())
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def _one(self) -> Condition:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise ConditionError(self._next.place, f"is nested more than {_MAX_DEPTH} deep")
        try:
            if self._skip("not"):
                return Not(self._one())
            if self._skip("("):
                found = self._either()
                if not self._skip(")"):
                    raise self._wrong("expected )")
                return found
            return self._comparison()
        finally:
            self._depth -= 1

    def _comparison(self) -> Condition:
        name = self._take()
        if name.kind != "name" or name.text not in _KNOWN:
            shown = name.text or "the end"
            raise ConditionError(name.place, f"{shown} is no field; known: {', '.join(_KNOWN)}")
        kind = _KNOWN[name.text]
        is_negated = self._next.kind == "name" and self._next.text == "not"
        self._at += is_negated
        allowed = _OPERATORS[kind] if name.text == "request.query" else [x for x in _OPERATORS[kind] if x != "has"]
        operator = self._take()
        if operator.text not in allowed or (is_negated and operator.text != "in"):
            raise ConditionError(operator.place, f"{name.text} takes {', '.join(allowed)}, not {operator.text!r}")
        values = self._list(kind) if operator.text == "in" else (self._value(kind),)
        match operator.text:
            case "in":
                found: Condition = Comparison(name.text, "=", values) if values else NEVER
                return Not(found) if is_negated else found
            case "!=":
                return Not(Comparison(name.text, "=", values))
            case "=" | "<" | "<=" | ">" | ">=" | "has" as sign:
                return Comparison(name.text, sign, values)
        raise AssertionError(operator.text)

    def _list(self, kind: Kind) -> tuple[Value, ...]:
        if not self._skip("["):
            raise self._wrong("expected [")
        values = list[Value]()
        while not self._skip("]"):
            if values and not self._skip(","):
                raise self._wrong("expected , or ]")
            values.append(self._value(kind))
        return tuple(values)

    def _value(self, kind: Kind) -> Value:
        token = self._next
        if kind == "text" and token.kind == "text":
            try:
                value: Value = str(json.loads(token.text))
            except json.JSONDecodeError:
                raise ConditionError(token.place, f"{token.text} is no text as JSON has it") from None
        elif kind == "number" and token.kind == "number":
            value = float(token.text)
        elif kind == "flag" and token.text in ("true", "false"):
            value = token.text == "true"
        else:
            wanted = {"text": "a text in double quotes", "number": "a number", "flag": "true or false"}[kind]
            raise self._wrong(f"expected {wanted}")
        self._at += 1
        return value


def _tokens(text: str) -> list[_Token]:
    found, place = list[_Token](), 0
    while True:
        match = _TOKEN.match(text, place)
        assert match is not None and match.lastgroup is not None
        token = _Token(match.lastgroup, match[match.lastgroup], match.start(match.lastgroup))
        if token.kind == "wrong":
            raise ConditionError(token.place, f"cannot read {text[token.place : token.place + 12]!r}")
        found.append(token)
        if token.kind == "end":
            return found
        place = match.end()
