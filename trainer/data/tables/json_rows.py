"""Rows of nested records: values at paths, and a row for each entry of a list that a path goes through with []."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from trainer.data import fields
from trainer.data.missing import is_missing
from trainer.data.tables.columns import WHOLE_ROW, ColumnNames

# lists that a path goes through, from the outside: ("orders", "line_items") for orders[].line_items[].sku
Chain = tuple[str, ...]


class _Path(NamedTuple):
    """A path, cut behind its last list: `chain` leads to an entry, `steps` from there to the value."""

    chain: Chain
    steps: list[tuple[str, str]]
    written: str


class RecordReader:
    """Makes rows of our columns from nested records.

    `found` are our columns that any record had, and `keys` the names that the records hold, nested ones with points.
    """

    def __init__(self, columns: ColumnNames) -> None:
        self._columns = {ours: [_cut(path) for path in theirs] for ours, theirs in columns.items()}
        chains = {path.chain for paths in self._columns.values() for path in paths}
        self._chains = sorted({chain[:depth] for chain in chains for depth in range(1, len(chain) + 1)}, key=len)
        self.found: set[str] = set()
        self.keys: dict[str, None] = {}

    def rows(self, record: Mapping[str, Any]) -> Iterator[dict[str, str | None]]:
        """The record's rows, as texts."""
        for scope in self._scopes({(): record}):
            yield {ours: self._value(ours, paths, scope) for ours, paths in self._columns.items()}

    def note_keys(self, record: Mapping[str, Any], before: str = "") -> None:
        """Remembers the names that a record holds, for messages."""
        for key, value in record.items():
            inner = value[0] if isinstance(value, list) and value else value
            if isinstance(inner, dict):
                self.note_keys(inner, f"{before}{key}{'[]' if isinstance(value, list) else ''}.")
            else:
                self.keys[f"{before}{key}"] = None

    def _scopes(self, scope: dict[Chain, Any]) -> Iterator[dict[Chain, Any]]:
        """The objects that paths start from, by chain: one set of them for each entry of the innermost list."""
        for chain in self._chains:
            if chain in scope or chain[:-1] not in scope or any(len(other) == len(chain) for other in scope):
                continue
            entries = _lookup(scope[chain[:-1]], chain[-1])
            if isinstance(entries, list) and entries:
                for entry in entries:
                    yield from self._scopes({**scope, chain: entry})
                return
        yield scope

    def _value(self, ours: str, paths: list[_Path], scope: Mapping[Chain, Any]) -> str | None:
        last = None
        for path in paths:
            if path.chain not in scope:
                continue
            start = scope[path.chain]
            is_literal = isinstance(start, dict) and path.written in start
            value = start[path.written] if is_literal else fields.follow(start, path.steps)
            if value is None:
                continue
            self.found.add(ours)
            last = as_text(value)
            # 0 is none, as of a product without a variant
            if len(paths) == 1 or not (is_missing(value) or last == "0"):
                return last
        return last


def as_text(value: Any) -> str | None:
    """A value of JSON as a CSV file would hold it; lists and objects stay JSON."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)
    if isinstance(value, (list, dict)):
        return json.dumps(value, ensure_ascii=False, default=str)
    # of a Parquet file
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _cut(path: str) -> _Path:
    *chain, last = path.split("[]")
    return _Path(
        tuple(one.strip(".") for one in chain), fields.steps(last.strip(".")) if last != WHOLE_ROW else [], path
    )


def _lookup(start: Any, path: str) -> Any:
    return fields.follow(start, fields.steps(path))
