"""Reads JSON files as text columns: one object a line, or one document that is a list or a page of an API."""

from __future__ import annotations

import codecs
import itertools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import polars as pl

from trainer.data.tables.columns import ColumnNames, check_columns, with_source
from trainer.data.tables.json_rows import RecordReader
from trainer.errors import DataError
from twotower.events import AROUND_ID

_BATCH_ROWS = 50_000
# a whole document is held in memory
_MAX_DOCUMENT_BYTES = 1 << 30
# of the first records, whose names an error shows
_NOTED = 20


def read_json(
    path: Path, chunks: Iterable[bytes], columns: ColumnNames, optional: frozenset[str]
) -> Iterator[pl.DataFrame]:
    """Yields the rows of a JSON file, batch by batch; `line` is the line, or the record's place in a document.

    `chunks` are the file's bytes; `columns` maps our names to paths in the records. Raises DataError,
    which shows no record, if one is no object.
    """
    return rows_of_records(path, _read_records(path, chunks), columns, optional)


def rows_of_records(
    path: Path, records: Iterable[tuple[int, dict[str, Any]]], columns: ColumnNames, optional: frozenset[str]
) -> Iterator[pl.DataFrame]:
    """Yields the rows of numbered records, batch by batch."""
    reader = RecordReader(columns)
    schema = {"line": pl.Int64, **dict.fromkeys(columns, pl.String)}
    batch: list[dict[str, Any]] = []
    is_checked = False
    has_marks = False
    for count, (line, given) in enumerate(records):
        has_marks = has_marks or (count < _NOTED and any(key != key.strip(AROUND_ID) for key in given))
        record = {key.strip(AROUND_ID): value for key, value in given.items()} if has_marks else given
        if count < _NOTED:
            reader.note_keys(record)
        batch += ({"line": line, **row} for row in reader.rows(record))
        if len(batch) >= _BATCH_ROWS:
            _check(path, reader, columns, optional)
            is_checked = True
            yield with_source(pl.DataFrame(batch, schema), path, columns)
            batch = []
    if not is_checked:
        if not reader.keys:
            raise DataError(f"{path} has no records")
        _check(path, reader, columns, optional)
    if batch:
        yield with_source(pl.DataFrame(batch, schema), path, columns)


def _check(path: Path, reader: RecordReader, columns: ColumnNames, optional: frozenset[str]) -> None:
    """Raises DataError if no record so far has a column that is not optional."""
    missing = {ours: theirs for ours, theirs in columns.items() if ours not in reader.found}
    check_columns(path, list(reader.keys), missing, optional)


def _read_records(path: Path, chunks: Iterable[bytes]) -> Iterator[tuple[int, dict[str, Any]]]:
    lines = _read_lines(chunks)
    first = next(lines, (1, b""))
    if first[1].lstrip()[:1] == b"{":
        try:
            record = json.loads(first[1])
        except ValueError:
            record = None
        second = next(lines, None)
        # a file of one line may be a page of an API
        if isinstance(record, dict) and second is not None:
            yield first[0], record
            yield from _parse_lines(path, itertools.chain([second], lines))
            return
        first = (first[0], first[1] + b"\n" + second[1]) if second else first
    yield from _read_document(path, first, lines)


def _read_lines(chunks: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """The lines that are not blank, with their numbers."""
    held, line = b"", 0
    for chunk in chunks:
        held += chunk
        *whole, held = held.split(b"\n")
        for text in whole:
            line += 1
            if text.strip(b"\xef\xbb\xbf \t\r"):
                yield line, text.removeprefix(codecs.BOM_UTF8)
    if held.strip():
        yield line + 1, held.removeprefix(codecs.BOM_UTF8)


def _parse_lines(path: Path, lines: Iterable[tuple[int, bytes]]) -> Iterator[tuple[int, dict[str, Any]]]:
    for line, text in lines:
        try:
            record = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"{path}, line {line}: is not JSON ({_problem(error)}); each line must be an object"
            ) from None
        if not isinstance(record, dict):
            raise DataError(f"{path}, line {line}: is not a JSON object")
        yield line, record


def _read_document(
    path: Path, first: tuple[int, bytes], lines: Iterator[tuple[int, bytes]]
) -> Iterator[tuple[int, dict[str, Any]]]:
    text = bytearray(first[1])
    for _, line in lines:
        text += b"\n" + line
        if len(text) > _MAX_DOCUMENT_BYTES:
            raise DataError(f"{path} is one JSON document of more than 1 GiB; write one object a line (jq -c '.[]')")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON: {_problem(error)}") from None
    for place, record in enumerate(_records_of(content), start=1):
        if not isinstance(record, dict):
            raise DataError(f"{path}, record {place}: is not a JSON object")
        yield place, record


def _records_of(content: Any) -> list[Any]:
    """The records of a document: a list, the one list of objects in a page of an API, its `data`, or the object."""
    if isinstance(content, list):
        return content
    if isinstance(content.get("data"), dict):
        return [content["data"]]
    lists = [one for one in content.values() if isinstance(one, list) and one and isinstance(one[0], dict)]
    return lists[0] if len(lists) == 1 else [content]


def _problem(error: Exception) -> str:
    # of a record, only the place is shown
    return f"{error.msg} at character {error.pos}" if isinstance(error, json.JSONDecodeError) else type(error).__name__
