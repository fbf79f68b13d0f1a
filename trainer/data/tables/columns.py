"""The columns that the settings name: checks that a file has them, and gives every table the same ones."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import polars as pl

from trainer.errors import MissingColumns

# our names of the columns, and those that a file may have for each: the first one with a value counts
ColumnNames = Mapping[str, tuple[str, ...]]
# the whole row, as a JSON object
WHOLE_ROW = "$"
# in an error: a file may have hundreds
_SHOWN = 60


def with_source(rows: pl.DataFrame, path: Path, columns: Iterable[str]) -> pl.DataFrame:
    """Rows as `file`, `line` and our `columns`; a column that the file lacks is null."""
    absent = [pl.lit(None, pl.String).alias(ours) for ours in columns if ours not in rows.columns]
    return rows.with_columns(pl.col("line").cast(pl.Int64), pl.lit(str(path)).alias("file"), *absent).select(
        "file", "line", *columns
    )


def first_value(values: Sequence[pl.Expr]) -> pl.Expr:
    """The first of several text columns that has a value; 0 is none, as of a product without a variant."""
    if len(values) == 1:
        return values[0]
    text = [one.str.strip_chars() for one in values]
    filled = [pl.when(~bare.is_in(["", "0"])).then(one) for bare, one in zip(text, values, strict=True)]
    zeros = [pl.when(bare != "").then(one) for bare, one in zip(text, values, strict=True)]
    return pl.coalesce(*filled, *zeros)


def check_columns(path: Path, header: Collection[str], columns: ColumnNames, optional: frozenset[str]) -> None:
    """Raises MissingColumns if the header lacks a column that is not optional."""
    missing = {
        ours: " or ".join(theirs)
        for ours, theirs in columns.items()
        if ours not in optional and not any(one == WHOLE_ROW or one in header for one in theirs)
    }
    if missing:
        raise MissingColumns(
            f"{path} lacks the column{'s' if len(missing) > 1 else ''} {', '.join(missing.values())}; it has: "
            f"{', '.join(list(header)[:_SHOWN])}; column names are set in the configuration under data",
            list(missing),
            list(header),
        )


def first_line(error: BaseException) -> str:
    return str(error).strip().split("\n", 1)[0]
