"""Reads sections of event files and checks their rows: one worker of an engine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import polars as pl

from trainer.config.data import Data
from trainer.data.event_checks import ACCEPTED_COLUMNS, Checked, EventChecks
from trainer.data.filters import filter_columns, optional_filters
from trainer.data.rejects import REJECT_COLUMNS
from trainer.data.tables.sections import Section
from twotower.events import AROUND_ID

if TYPE_CHECKING:
    # it comes with the extra `ray`
    import pyarrow as pa

# one table holds all parts of what was checked: `part` is the place in `Checked`
_PART = "part"
_ORDER = {name: place for place, name in enumerate((*REJECT_COLUMNS, "count", "anonymous", *ACCEPTED_COLUMNS))}


class EventReader:
    """Reads and checks the rows of a section, batch by batch."""

    def __init__(self, product_ids: Sequence[str], config: Data, now_ms: int) -> None:
        self._config = config
        self._checks = EventChecks(product_ids, config, now_ms)

    def __call__(self, section: Section) -> Iterator[Checked]:
        """Raises DataError if the section cannot be read."""
        for batch in _read(section, self._config):
            yield self._checks.check(batch, self._config.event_filter)

    @staticmethod
    def pack(checked: Checked) -> pa.Table:
        """All parts one below the other, without columns that hold nothing: Arrow's tables are flat."""
        count = pl.DataFrame({"count": [checked.rows]}, {"count": pl.Int64})
        parts = [count, *checked[1:]]
        marked = [
            part.with_columns(pl.lit(place, pl.Int8).alias(_PART)) for place, part in enumerate(parts) if part.height
        ]
        rows = pl.concat(marked, how="diagonal")
        filled = [name for name in rows.columns if rows[name].null_count() < rows.height]
        return rows.select(filled).to_arrow(compat_level=pl.CompatLevel.oldest())

    @staticmethod
    def unpack(table: pa.Table) -> Checked:
        """What was packed; several tables one below the other are one."""
        rows = pl.DataFrame(table)
        count, *parts = (rows.filter(pl.col(_PART) == place).drop(_PART) for place in range(len(Checked._fields)))
        filled = [part.select(name for name in part.columns if part[name].null_count() < part.height) for part in parts]
        return Checked(int(count["count"].sum()), *map(_in_order, filled))


def _in_order(part: pl.DataFrame) -> pl.DataFrame:
    """The columns of a part as the checks order them: the table has them in the order in which its parts bring them."""
    ordered: list[str] = sorted(part.columns, key=lambda name: _ORDER.get(name, len(_ORDER)))
    return part.select(ordered)


def event_columns(config: Data) -> tuple[dict[str, tuple[str, ...]], frozenset[str]]:
    """Our names of the columns that are read, those of filters included, and which of them a file may lack."""
    columns = config.event_columns.names() | filter_columns(config.event_filter)
    return columns, config.event_columns.optional(config.default_event) | optional_filters(config.event_filter)


def _read(section: Section, config: Data) -> Iterator[pl.LazyFrame]:
    """The rows as they stand in the files, without marks around them; those of an order have its buyer and time."""
    names = config.event_columns.names()
    stripped = [pl.col(name).str.strip_chars(AROUND_ID) for name in names]
    batches: Iterable[pl.DataFrame] = section.read(*event_columns(config), config.delimiter)
    if "group" in names:
        batches = [_fill_orders(pl.concat(batches))]
    for batch in batches:
        # of times too: spreadsheets leave marks around all they hold
        rows = batch.lazy().with_columns(stripped)
        if config.default_event:
            rows = rows.with_columns(pl.col("event").fill_null(config.default_event))
        if "anonymous" in names:
            has_buyer = pl.col("buyer").fill_null("") != ""
            rows = rows.with_columns(buyer=pl.when(has_buyer).then("buyer").otherwise("anonymous"), named=has_buyer)
        yield rows


def _fill_orders(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows of an order with what its first row has: buyer, time and what filters look at."""
    filled = [name for name in rows.columns if name not in {"file", "line", "group", "product", "event", "query"}]
    blank_is_null = [pl.when(pl.col(name).str.strip_chars() != "").then(pl.col(name)).alias(name) for name in filled]
    first = [pl.col(name).fill_null(pl.col(name).drop_nulls().first().over("group")) for name in filled]
    rows = rows.with_columns(blank_is_null)
    is_order = pl.col("group").fill_null("") != ""
    return (
        rows
        if rows["group"].null_count() == rows.height
        else pl.concat([rows.filter(is_order).with_columns(first), rows.filter(~is_order)])
    )
