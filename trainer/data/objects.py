"""Objects that stand in texts: JSON, JSON within JSON, and what Python prints of dictionaries and lists."""

from __future__ import annotations

import ast
import json
from typing import Any

from trainer.data.missing import is_missing

# a list of such objects is one object, as [{"key": "brand", "value": "x"}]
_KEY_NAMES, _VALUE_NAMES = ("key", "code", "attribute_code", "name"), ("value", "values")
# names that Python and JavaScript print; NaN is no value
_CONSTANTS = {"nan": None, "NaN": None, "inf": None, "null": None, "true": True, "false": False}


def read_object(text: str) -> dict[str, Any]:
    """The object that a text holds: JSON, JSON within a JSON text, or a Python dictionary; {} if it is empty or null.

    A list of one object is that object, and a list of keys with values is one object too. Raises ValueError with what
    is wrong.
    """
    content: Any = text
    # an exported column of JSON texts is JSON twice
    for _ in range(2):
        if not isinstance(content, str):
            break
        if is_missing(content):
            return {}
        content = parse(content)
    if isinstance(content, list) and content and all(isinstance(one, dict) for one in content):
        content = content[0] if len(content) == 1 and not _pair(content[0]) else _join_pairs(content)
    if content is None or content == []:
        return {}
    if not isinstance(content, dict):
        raise ValueError("metadata is not a JSON object")
    return content


def parse(text: str) -> Any:
    """The value that a text holds as JSON or as Python prints it. Raises ValueError if it holds none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        if not text.lstrip().startswith(("{", "[")):
            raise ValueError("metadata is not JSON") from None
    # pandas writes a dictionary so
    try:
        return ast.literal_eval(_Plain().visit(ast.parse(text.strip(), mode="eval")))
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        raise ValueError("metadata is not JSON") from None


def parse_nested(value: Any) -> Any:
    """The list or object that a text holds; any other value as it is."""
    if not isinstance(value, str) or value[:1] not in ("{", "["):
        return value
    try:
        return parse(value)
    except ValueError:
        return value


class _Plain(ast.NodeTransformer):
    """Makes literals of what Python prints beside them: nan, true, Decimal('5')."""

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return ast.Constant(_CONSTANTS[node.id]) if node.id in _CONSTANTS else node

    def visit_Call(self, node: ast.Call) -> ast.expr:
        is_decimal = isinstance(node.func, ast.Name) and node.func.id == "Decimal"
        return node.args[0] if is_decimal and len(node.args) == 1 else node


def _pair(one: dict[str, Any]) -> tuple[str, Any] | None:
    key = next((one[name] for name in _KEY_NAMES if isinstance(one.get(name), str)), None)
    value = next((one[name] for name in _VALUE_NAMES if name in one), None)
    return None if key is None or not any(name in one for name in _VALUE_NAMES) else (key, value)


def _join_pairs(content: list[dict[str, Any]]) -> Any:
    pairs = [_pair(one) for one in content]
    return {pair[0]: pair[1] for pair in pairs if pair} if all(pairs) else content
