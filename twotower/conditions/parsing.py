"""Conditions as text, read and written, never evaluated as code.

    brand = "لازوردي" and price < 200 and not (category in ["عطور", "تمور"]) and buyer.guest = true

Texts are in double quotes, as in JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from twotower.conditions.language import (
    ALWAYS,
    FACTS,
    NEVER,
    PRODUCT_FIELDS,
    All,
    Any,
    Comparison,
    Condition,
    Constant,
    Kind,
    Not,
    Value,
)

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


def _written(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else f"{value:.15f}".rstrip("0").rstrip(".")


class _Token(NamedTuple):
    kind: str
    text: str
    place: int


class _Parser:
    """Recursive descent: `or` binds weakest, then `and`, then `not`."""

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
                raise ConditionError(token.place, f"{token.text} is no JSON string") from None
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
