"""Filters of rows by the values of columns, as data.event_filter and data.product_filter say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from trainer.config.data import Filter
from twotower.events import AROUND_ID

# before the names of the columns that filters look at, which may be read as other columns too
FILTER = "filter "


def filter_columns(kept: Filter) -> dict[str, tuple[str, ...]]:
    """The columns of a filter, by names of their own."""
    return {f"{FILTER}{column}": (column,) for column in kept}


def optional_filters(kept: Filter) -> frozenset[str]:
    """The names of those columns that a file may lack."""
    return frozenset(f"{FILTER}{column}" for column, values in kept.items() if None in values)


def left_out(record: Mapping[str, Any], kept: Filter) -> str | None:
    """The first value of a row that a filter leaves out, with its column; None if the row stays."""
    for column, values in kept.items():
        value = (record[f"{FILTER}{column}"] or "").strip(AROUND_ID).lower()
        allowed, denied = _parts(values)
        is_kept = value in allowed or (bool(value) and "*" in allowed) or (bool(denied) and value not in denied)
        if not is_kept:
            return f"{column} is {value or 'blank'}"
    return None


def keeps(column: str, kept: Filter) -> tuple[pl.Expr, pl.Expr]:
    """Whether a filter keeps a row, and the row's value, of one column of the filter."""
    value = pl.col(f"{FILTER}{column}").fill_null("").str.strip_chars(AROUND_ID).str.to_lowercase()
    allowed, denied = _parts(kept[column])
    is_kept = value.is_in(allowed)
    if "*" in allowed:
        is_kept |= value != ""
    if denied:
        is_kept |= ~value.is_in(denied)
    return is_kept, value


def _parts(values: list[str | None]) -> tuple[list[str], list[str]]:
    """The values that stay, and those that alone do not."""
    texts = [(one or "").lower() for one in values]
    return [one for one in texts if not one.startswith("!")], [one[1:] for one in texts if one.startswith("!")]
