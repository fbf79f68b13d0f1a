"""Reads Parquet files as text columns."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
from polars import selectors

from trainer.data.tables.columns import (
    WHOLE_ROW,
    ColumnNames,
    check_columns,
    first_line,
    first_value,
    match_header,
    with_source,
)
from trainer.data.tables.json_file import rows_of_records
from trainer.errors import DataError

_BATCH_ROWS = 250_000
# Polars panics at some damaged files
_UNREADABLE = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError)


def read_parquet(
    path: Path, columns: ColumnNames, optional: frozenset[str], start: int = 0, count: int | None = None
) -> Iterator[pl.DataFrame]:
    """Yields the rows of a Parquet file, batch by batch, in one pass; `line` 1 is the first row of the file.

    `columns` maps our names to those of the file; `start` and `count` choose rows of a file without nested columns.
    Raises DataError if the file or a column's type cannot be read.
    """
    frame, schema = _scan(path)
    if _is_nested(schema, columns):
        yield from rows_of_records(path, _records(path, frame), columns, optional)
        return
    names = match_header(path, schema.names(), columns)
    frame = frame.rename(dict(zip(schema.names(), names, strict=True)))
    schema = pl.Schema(zip(names, schema.dtypes(), strict=True))
    check_columns(path, names, columns, optional)
    _check_types(path, schema, columns)
    wanted = list(_wanted(schema, columns))
    # Selected before it is numbered: the file may have a column named "line".
    numbered = frame.select(wanted).slice(start, count).with_row_index("line", offset=1 + start)
    batches = numbered.collect_batches(chunk_size=_BATCH_ROWS)
    rows = 0
    try:
        for batch in batches:
            rows += batch.height
            yield with_source(batch, path, columns)
    except _UNREADABLE as error:
        raise DataError(f"{path} cannot be read: {first_line(error)}") from None
    if not rows:
        raise DataError(f"{path} has no rows")


def parquet_rows(path: Path, columns: ColumnNames) -> int:
    """How many rows of a Parquet file can be read apart: none of a file with nested columns.

    Raises DataError if the file cannot be read.
    """
    frame, schema = _scan(path)
    if _is_nested(schema, columns):
        return 0
    try:
        return int(frame.select(pl.len()).collect().item())
    except _UNREADABLE as error:
        raise DataError(f"{path} cannot be read: {first_line(error)}") from None


def _scan(path: Path) -> tuple[pl.LazyFrame, pl.Schema]:
    try:
        frame = pl.scan_parquet(path, glob=False)
        return frame, frame.collect_schema()
    except _UNREADABLE as error:
        raise DataError(f"{path} is not a Parquet file: {first_line(error)}") from None


def _is_nested(schema: pl.Schema, columns: ColumnNames) -> bool:
    """Whether a column is no column of the file but a path into one, as `items[].item_id`."""
    paths = [one for theirs in columns.values() for one in theirs if one not in schema]
    heads = {re.split(r"[.\[]", one.removeprefix("$."), maxsplit=1)[0] for one in paths}
    return any(kind.is_nested() for name, kind in schema.items() if name in heads)


def _records(path: Path, frame: pl.LazyFrame) -> Iterator[tuple[int, dict[str, Any]]]:
    line = 0
    try:
        for batch in frame.collect_batches(chunk_size=_BATCH_ROWS):
            times = [selectors.by_name(name) for name, kind in batch.schema.items() if kind.is_temporal()]
            for record in batch.with_columns(one.cast(pl.String) for one in times).iter_rows(named=True):
                line += 1
                yield line, record
    except _UNREADABLE as error:
        raise DataError(f"{path} cannot be read: {first_line(error)}") from None


def _wanted(schema: pl.Schema, columns: ColumnNames) -> Iterator[pl.Expr]:
    for ours, names in columns.items():
        found = [_as_text(theirs, schema[theirs]) for theirs in names if theirs in schema]
        if WHOLE_ROW in names:
            found.append(pl.struct(pl.all()).struct.json_encode())
        if found:
            yield first_value(found).alias(ours)


def _check_types(path: Path, schema: pl.Schema, columns: ColumnNames) -> None:
    for theirs in (name for names in columns.values() for name in names):
        kind = schema.get(theirs)
        if kind is None or not kind.is_nested():
            continue
        if not isinstance(kind, pl.Struct):
            raise DataError(f"{path}: the column {theirs} holds {kind}, wanted text, a number or a time")
        if _holds_bytes(kind):
            # JSON has no bytes, and Polars panics at them.
            raise DataError(
                f"{path}: the column {theirs} holds {kind}, with bytes in it, wanted text, numbers or times"
            )


def _holds_bytes(kind: pl.DataType | pl.datatypes.DataTypeClass) -> bool:
    if isinstance(kind, pl.Struct):
        return any(_holds_bytes(field.dtype) for field in kind.fields)
    return _holds_bytes(kind.inner) if isinstance(kind, (pl.List, pl.Array)) else kind == pl.Binary


def _as_text(name: str, kind: pl.DataType) -> pl.Expr:
    # `pl.col` takes some names for patterns.
    column = selectors.by_name(name)
    if isinstance(kind, (pl.Datetime, pl.Date)):
        return _time_as_text(column, kind)
    if isinstance(kind, pl.Struct):
        # json_encode() writes a missing object as the text "null".
        return pl.when(column.is_not_null()).then(column.struct.json_encode())
    if kind.is_float():
        # Whole numbers as other files write them: 85048, not 85048.0.
        whole = column.cast(pl.Int64, strict=False)
        return pl.when(whole.cast(kind) == column).then(whole.cast(pl.String)).otherwise(column.cast(pl.String))
    return column.cast(pl.String, strict=False)


def _time_as_text(column: pl.Expr, kind: pl.Datetime | pl.Date) -> pl.Expr:
    """ISO text, which cannot be mistaken for a number of seconds."""
    if isinstance(kind, pl.Date):
        written = column.dt.to_string("%Y-%m-%d")
    else:
        column = column.dt.convert_time_zone("UTC") if kind.time_zone else column
        written = column.dt.to_string("%Y-%m-%dT%H:%M:%S%.3f")
    # ISO text has years of four digits; an older time is written in milliseconds.
    has_four_digits = column.dt.year().is_between(1000, 9999)
    return pl.when(has_four_digits).then(written).otherwise(column.dt.epoch("ms").cast(pl.String))
