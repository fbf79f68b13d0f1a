"""The columns that the settings name: checks that a file has them, and gives every table the same ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from trainer.errors import DataError


def with_source(rows: pl.DataFrame, path: Path, columns: Mapping[str, str]) -> pl.DataFrame:
    """Rows as `file`, `line` and our `columns`; a column that the file lacks is null."""
    absent = [pl.lit(None, pl.String).alias(ours) for ours in columns if ours not in rows.columns]
    return rows.with_columns(pl.col("line").cast(pl.Int64), pl.lit(str(path)).alias("file"), *absent).select(
        "file", "line", *columns
    )


def check_columns(path: Path, header: Sequence[str], columns: Mapping[str, str], optional: frozenset[str]) -> None:
    """Raises DataError if the header lacks a column that is not optional."""
    missing = [theirs for ours, theirs in columns.items() if ours not in optional and theirs not in header]
    if missing:
        raise DataError(
            f"{path} lacks the column{'s' if len(missing) > 1 else ''} {', '.join(missing)}; it has: "
            f"{', '.join(header)}; column names are set in the configuration under data"
        )


def first_line(error: BaseException) -> str:
    return str(error).strip().split("\n", 1)[0]
