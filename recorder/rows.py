"""Entries of the log as rows of tables."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from recorder.source import Entry
from twotower.errors import InvalidInput
from twotower.event_log import ENCODED, KINDS, InteractionRecord, event_id_of, owner_of
from twotower.forgotten import ForgottenBuyers
from twotower.serving import wire

log = logging.getLogger(__name__)

_TEXT, _TIME, _LINES = pa.string(), pa.int64(), pa.list_(pa.string())
_LISTS = pa.schema(
    {
        "recommendation_id": _TEXT,
        "served_ms": _TIME,
        "route": _TEXT,
        "slot": _TEXT,
        "buyer_id": _TEXT,
        "session_id": _TEXT,
        "query": _TEXT,
        "product_id": _TEXT,
        "model_version": _TEXT,
        "source": _TEXT,
        "product_ids": _LINES,
        "explored": _LINES,
        "experiment": _TEXT,
        "arm": _TEXT,
        "teams": _TEXT,
        "logged_ms": _TIME,
    }
)
SCHEMAS = {
    "interactions": pa.schema(
        {
            "event_id": _TEXT,
            "buyer_id": _TEXT,
            "session_id": _TEXT,
            "product_id": _TEXT,
            "event_type": _TEXT,
            "timestamp_ms": _TIME,
            "recommendation_id": _TEXT,
            "query": _TEXT,
            "quantity": pa.int64(),
            "price": pa.float64(),
            "logged_ms": _TIME,
        }
    ),
    "lists": _LISTS,
    "shadows": _LISTS,
    "merges": pa.schema({"session_id": _TEXT, "buyer_id": _TEXT, "merged_ms": _TIME, "logged_ms": _TIME}),
}
_NOTHING = type(None)
_PYTHON: dict[Any, Any] = {
    _TEXT: (str, _NOTHING),
    _TIME: (int, _NOTHING),
    pa.float64(): (int, float, _NOTHING),
    _LINES: str,
}
# the Python types of each record's fields; `logged_ms` is not one of them
_ACCEPTED = {kind: [_PYTHON[field.type] for field in schema][:-1] for kind, schema in SCHEMAS.items()}


class Part(NamedTuple):
    """What lies in one folder: a kind of record, and the day on which it was logged (UTC)."""

    kind: str
    day: str


def rows_of(entries: Iterable[Entry], forgotten: ForgottenBuyers) -> dict[Part, list[tuple[Any, ...]]]:
    """The rows of the entries, by folder, without those of forgotten buyers. An unreadable entry is logged, with its
    place and not its content, and left out."""
    rows: dict[Part, list[tuple[Any, ...]]] = {}
    for entry in entries:
        day = datetime.fromtimestamp(entry.written_ms / 1000, UTC).date().isoformat()
        try:
            found = [(kind, _checked(kind, record)) for kind, record in _records(entry)]
        except (KeyError, TypeError, ValueError, InvalidInput) as error:
            log.error("entry %s of the log cannot be read: %s", entry.place, type(error).__name__)
            continue
        for kind, record in found:
            if kind == "merges" or owner_of(record.buyer_id, record.session_id) not in forgotten:
                rows.setdefault(Part(kind, day), []).append((*record, entry.written_ms))
    return rows


def _checked(kind: str, fields: Iterable[Any]) -> Any:
    """The record of these fields. Raises KeyError, TypeError: a row of another form would make the whole file fail."""
    record = KINDS[kind](*fields)
    if not all(map(isinstance, record, _ACCEPTED[kind])):
        raise TypeError(f"a field of {kind} has another type")
    return record


def table_of(kind: str, rows: list[tuple[Any, ...]]) -> pa.Table:
    schema = SCHEMAS[kind]
    columns = zip(*rows, strict=True)
    arrays = [_array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)


def _array(column: tuple[Any, ...], kind: pa.DataType) -> pa.Array:
    if kind != _LINES:
        return pa.array(column, kind)
    # an empty text is a list of nothing, and not of one empty line
    lines = pc.split_pattern(pa.array(column, _TEXT), "\n")
    return (
        lines
        if all(column)
        else pa.array([found if text else [] for found, text in zip(lines.to_pylist(), column, strict=True)], kind)
    )


def _records(entry: Entry) -> Iterator[tuple[str, tuple[Any, ...]]]:
    for field, value in entry.fields.items():
        if field == ENCODED:
            buyer_id, _, packed = value.decode().partition(wire.SEPARATOR)
            for product, event, time in zip(*wire.unpack_columns(packed), strict=True):
                event_id = event_id_of(buyer_id, product, event, time)
                yield "interactions", InteractionRecord(event_id, buyer_id, None, product, event, time)
        else:
            for row in orjson.loads(value):
                yield field, row
