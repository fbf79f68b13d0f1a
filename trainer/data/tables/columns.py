"""The columns that the settings name: checks that a file has them, and gives every table the same ones."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import polars as pl

from trainer.errors import DataError, MissingColumns

# our names of the columns, and those that a file may have for each: the first one with a value counts
ColumnNames = Mapping[str, tuple[str, ...]]
# the whole row, as a JSON object
WHOLE_ROW = "$"
# in an error: a file may have hundreds
_SHOWN = 60
# numbers, times, addresses of e-mail and JSON are values and no names of columns
_VALUE = re.compile(r"^\W*[0-9][0-9.,:TZ/+ -]*\W*$|@|^\[|^\{|'\)")


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
    if missing and len(missing) == len(columns.keys() - optional) and any(_VALUE.search(one) for one in header):
        # a row is shown to no one: it may be a person's
        raise MissingColumns(
            f"{path} has no header: its first line names none of the columns {', '.join(missing.values())}, and looks "
            "like a row",
            list(missing),
            [],
        )
    if missing:
        raise MissingColumns(
            f"{path} lacks the column{'s' if len(missing) > 1 else ''} {', '.join(missing.values())}; it has: "
            f"{', '.join(list(header)[:_SHOWN])}; column names are set in the configuration under data",
            list(missing),
            list(header),
        )


def match_header(path: Path, header: Sequence[str], columns: ColumnNames) -> list[str]:
    """The header with our spelling of names that differ only by capital letters, blanks, hyphens and underscores.

    Raises DataError if it is blank, or names a column that is read more than once.
    """
    if not any(header):
        raise DataError(f"{path}: its first line is blank; it must name the columns")
    wanted = {name for names in columns.values() for name in names if name != WHOLE_ROW}
    # columns that are not read may have no name, or that of another one
    if repeated := sorted({name for name in wanted if header.count(name) > 1}):
        raise DataError(f"{path}: the header names {', '.join(repeated)} more than once")
    plain = [plain_name(name) for name in header]
    matched = list(header)
    for name in sorted(wanted.difference(header)):
        places = [
            place for place, one in enumerate(plain) if one == plain_name(name) and matched[place] == header[place]
        ]
        if len(places) == 1 and header[places[0]] not in wanted:
            matched[places[0]] = name
    return matched


def plain_name(name: str) -> str:
    """What names of columns are compared by; feeds of Google write g:id for id."""
    return "".join(one for one in name.casefold().removeprefix("g:") if one not in " -_")


def wanted_columns(header: Sequence[str], columns: ColumnNames) -> Iterator[pl.Expr]:
    """Our columns, from those of a table whose columns are named by their places in the header: _0, _1, ..."""
    for ours, names in columns.items():
        places = [pl.col(f"_{header.index(name)}") for name in names if name in header]
        if WHOLE_ROW in names:
            named = {name: pl.col(f"_{place}").alias(name) for place, name in enumerate(header)}
            places.append(pl.struct(named.values()).struct.json_encode())
        if places:
            yield first_value(places).alias(ours)


def first_line(error: BaseException) -> str:
    return str(error).strip().split("\n", 1)[0]
