"""Reads Parquet files as text columns."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import polars as pl
from polars import selectors

from trainer.data.columns import check_columns, complete, first_line
from trainer.errors import DataError


def open_parquet(path: Path, columns: Mapping[str, str], optional: frozenset[str]) -> pl.LazyFrame:
    try:
        frame = pl.scan_parquet(path)
        schema = frame.collect_schema()
        rows = frame.select(pl.len()).collect().item()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{path} is not a Parquet file: {first_line(error)}") from None
    check_columns(path, schema.names(), columns, optional)
    if not rows:
        raise DataError(f"{path} has no rows")
    for theirs in columns.values():
        if theirs in schema and schema[theirs].is_nested() and not isinstance(schema[theirs], pl.Struct):
            raise DataError(f"{path}: the column {theirs} holds {schema[theirs]}, wanted text, a number or a time")
        if theirs in schema and isinstance(schema[theirs], pl.Struct) and _holds_bytes(schema[theirs]):
            # which JSON cannot say, and at which Polars panics
            raise DataError(
                f"{path}: the column {theirs} holds {schema[theirs]}, with bytes in it, wanted text, numbers or times"
            )
    wanted = [_as_text(theirs, schema[theirs]).alias(ours) for ours, theirs in columns.items() if theirs in schema]
    # numbered by our names alone: a column of theirs may be called as the numbers are
    return complete(frame.select(wanted).with_row_index("line", offset=1), path, columns)


def _holds_bytes(kind: pl.DataType | pl.datatypes.DataTypeClass) -> bool:
    if isinstance(kind, pl.Struct):
        return any(_holds_bytes(field.dtype) for field in kind.fields)
    return _holds_bytes(kind.inner) if isinstance(kind, (pl.List, pl.Array)) else kind == pl.Binary


def _as_text(name: str, kind: pl.DataType) -> pl.Expr:
    # `pl.col` would take some names for patterns
    column = selectors.by_name(name)
    if isinstance(kind, (pl.Datetime, pl.Date)):
        return _time_as_text(column, kind)
    if isinstance(kind, pl.Struct):
        # encoded, nothing would be the text "null"
        return pl.when(column.is_not_null()).then(column.struct.json_encode())
    if kind.is_float():
        # whole numbers as they are written elsewhere: 85048, not 85048.0
        whole = column.cast(pl.Int64, strict=False)
        return pl.when(whole.cast(kind) == column).then(whole.cast(pl.String)).otherwise(column.cast(pl.String))
    return column.cast(pl.String, strict=False)


def _time_as_text(column: pl.Expr, kind: pl.Datetime | pl.Date) -> pl.Expr:
    """As a time is written, which no number of seconds can be mistaken for."""
    if isinstance(kind, pl.Date):
        written = column.dt.to_string("%Y-%m-%d")
    else:
        column = column.dt.convert_time_zone("UTC") if kind.time_zone else column
        written = column.dt.to_string("%Y-%m-%dT%H:%M:%S%.3f")
    # only years of four digits are written so; of what is older, milliseconds say as much
    told = column.dt.year().is_between(1000, 9999)
    return pl.when(told).then(written).otherwise(column.dt.epoch("ms").cast(pl.String))
