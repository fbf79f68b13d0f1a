"""Checks rows of the events table: what is accepted, rejected, left out, or left for the whole column to decide."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import polars as pl

from trainer.config.data import OTHER_EVENTS, Data, Filter
from trainer.data.filters import keeps
from trainer.data.rejects import REJECT_COLUMNS, UNKNOWN_PRODUCT, Check, first_problem, id_checks
from trainer.data.time_forms import HIJRI_PROBLEM
from trainer.data.times import is_date_in_digits, is_spreadsheet_day, time_ms
from trainer.data.visitors import visitor_pairs
from twotower.events import DATE_IN_DIGITS_PROBLEM, DAY_MS, SPREADSHEET_DAY_PROBLEM

UNREADABLE_TIME = (
    "unreadable time: neither ISO-8601, epoch time, a date with slashes or a month's name, nor data.time_format"
)
UNKNOWN_EVENT = "unknown event name"
# the code of events that the settings leave out
_LEFT_OUT = -1
# the years 1340 to 1500, which are of our time in the Hijri calendar
_HIJRI_MS = (-19_880_899_200_000, -14_831_769_600_000)
ACCEPTED_COLUMNS = ("buyer", "row", "kind", "ms")


class Checked(NamedTuple):
    """Some rows after the checks.

    `rows`: how many were read. `accepted`: `buyer`, `row` of the product, `kind`, `ms` and any `query`. `rejected`:
    the columns of a reject. `undecided`: whole rows, in whose time only the whole column shows a form. `dropped`: the
    number of rows left out without harm, by `reason`. `visitors`: pairs of an `anonymous` id and a `buyer`.
    """

    rows: int
    accepted: pl.DataFrame
    rejected: pl.DataFrame
    undecided: pl.DataFrame
    dropped: pl.DataFrame
    visitors: pl.DataFrame


class EventChecks:
    """The checks of one table of events against a catalogue. A time after `now_ms` and a day is rejected."""

    def __init__(self, product_ids: Sequence[str], config: Data, now_ms: int) -> None:
        self._config = config
        self._coded = _code_columns(product_ids, config)
        self._problem = first_problem(_event_checks(now_ms + DAY_MS), config.event_columns.names())

    def check(self, rows: pl.LazyFrame, kept: Filter) -> Checked:
        """Checks rows with our columns as text, `file` and `line`; `kept` filters them."""
        coded = rows.with_columns(self._coded).with_columns(self._problem).collect(engine="streaming")
        dropped: list[tuple[str, int]] = []
        checked = _leave_out(_filter(coded, kept, dropped), dropped, self._config)
        is_late = pl.col("reason").eq_missing(UNREADABLE_TIME)
        undecided = checked.filter(is_late)
        if undecided.height:
            checked = checked.filter(~is_late)
        accepted, rejected = _settle(checked)
        left_out = pl.DataFrame(dropped, {"reason": pl.String, "count": pl.Int64}, orient="row")
        return Checked(coded.height, accepted, rejected, undecided, left_out, visitor_pairs(coded))

    def check_again(self, undecided: pl.DataFrame, why: pl.Expr) -> Checked:
        """Checks rows whose column `ms` has what the whole column says; `why` is the reason where it is null."""
        checked = undecided.with_columns(self._problem)
        reason = pl.when(pl.col("reason") == UNREADABLE_TIME).then(why).otherwise("reason")
        accepted, rejected = _settle(checked.with_columns(reason=reason))
        nothing = pl.DataFrame()
        return Checked(0, accepted, rejected, nothing, pl.DataFrame(schema=["reason", "count"]), nothing)


def _filter(checked: pl.DataFrame, kept: Filter, dropped: list[tuple[str, int]]) -> pl.DataFrame:
    """The rows with the wanted values; the others are counted, by value."""
    for column in kept:
        is_kept, value = keeps(column, kept)
        for name, count in checked.filter(~is_kept).select(value.alias("value"))["value"].value_counts().iter_rows():
            dropped.append((f"{column} is {name or 'blank'}, left out by data.event_filter", count))
        checked = checked.filter(is_kept)
    return checked


def _leave_out(checked: pl.DataFrame, dropped: list[tuple[str, int]], config: Data) -> pl.DataFrame:
    """The rows less those of events and buyers that the settings leave out; these are counted, whatever they hold."""
    is_left_out = (checked["kind"] == _LEFT_OUT).fill_null(value=False)
    if is_left_out.any():
        for name, count in checked.filter(is_left_out)["event"].value_counts().iter_rows():
            dropped.append((f"{name}, left out by data.event_names", count))
        checked = checked.filter(~is_left_out)
    if config.unknown_buyers:
        is_unknown = pl.col("buyer").str.to_lowercase().is_in([one.lower() for one in config.unknown_buyers])
        for name, count in checked.filter(is_unknown)["buyer"].value_counts().iter_rows():
            dropped.append((f"buyer {name}, left out by data.unknown_buyers", count))
        checked = checked.filter(~is_unknown.fill_null(value=False))
    return checked


def _settle(checked: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows without a problem as accepted ones, and the others as rejects."""
    good = checked["reason"].is_null()
    rejected = checked.filter(~good).select(REJECT_COLUMNS)
    if rejected.height:
        checked = checked.filter(good)
    # millions of rows without a query need no column of nulls
    has_query = "query" in checked.columns and checked["query"].null_count() < checked.height
    return checked.select(*ACCEPTED_COLUMNS, *(["query"] if has_query else [])), rejected


def _code_columns(product_ids: Sequence[str], config: Data) -> list[pl.Expr]:
    """Columns `kind`, `row` and `ms`; null if the event name, the product or the time is unknown."""
    codes = {name: code for code, name in enumerate(config.event_weights, start=1)}
    named = {name: _LEFT_OUT if ours is None else codes[ours] for name, ours in config.event_names.items()}
    theirs = codes | named
    # a row without a name has no other name
    other = pl.when(pl.col("event") != "").then(theirs.pop(OTHER_EVENTS, None))
    kind = pl.col("event").replace_strict(list(theirs), list(theirs.values()), default=other, return_dtype=pl.Int8)
    # An Enum is hashed once for all batches; its physical values are the places of the ids.
    row = pl.col("product").cast(pl.Enum(product_ids), strict=False).to_physical().cast(pl.Int32)
    return [kind.alias("kind"), row.alias("row"), time_ms(pl.col("time"), config.time_format).alias("ms")]


def _event_checks(latest_ms: int) -> list[Check]:
    written_time = pl.col("time")
    return [
        *id_checks("buyer", pl.col("buyer")),
        *id_checks("product", pl.col("product")),
        Check("missing event name", "event", pl.col("event").fill_null("") == ""),
        Check(UNKNOWN_EVENT, "event", pl.col("kind").is_null()),
        Check("missing time", "time", written_time.fill_null("") == ""),
        Check(DATE_IN_DIGITS_PROBLEM, "time", is_date_in_digits(written_time)),
        Check(SPREADSHEET_DAY_PROBLEM, "time", is_spreadsheet_day(written_time)),
        Check(UNREADABLE_TIME, "time", pl.col("ms").is_null()),
        Check(HIJRI_PROBLEM, "time", pl.col("ms").is_between(*_HIJRI_MS)),
        Check("time before 1970", "time", pl.col("ms") < 0),
        Check("time more than a day ahead", "time", pl.col("ms") > latest_ms),
        Check(UNKNOWN_PRODUCT, "product", pl.col("row").is_null()),
    ]
