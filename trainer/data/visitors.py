"""Visitors who were anonymous and logged in later: one buyer, where a row names both ids."""

from __future__ import annotations

import polars as pl

from trainer.data.rejects import RowChecks


class Visitors:
    """The pairs of an anonymous id and a buyer that stand in one row, of events of any name."""

    def __init__(self) -> None:
        self._pairs: list[pl.DataFrame] = []

    def note(self, rows: pl.DataFrame) -> None:
        """Remembers the pairs of these rows, if the settings name a column of anonymous ids."""
        if "anonymous" in rows.columns:
            other = pl.col("anonymous").fill_null("")
            is_pair = pl.col("named") & (other != "") & (other != pl.col("buyer"))
            self._pairs.append(rows.filter(is_pair).select("anonymous", "buyer").unique())

    def join(self, events: pl.DataFrame, checks: RowChecks) -> pl.DataFrame:
        """The events, those of a visitor as the buyer's; a visitor with several buyers stays, as on a shared device."""
        pairs = pl.concat(self._pairs).unique() if self._pairs else pl.DataFrame()
        if pairs.is_empty():
            return events
        buyer_of = pairs.filter(~pl.col("anonymous").is_duplicated())
        joined = events["buyer"].replace(buyer_of["anonymous"], buyer_of["buyer"])
        count = events.filter(joined != events["buyer"])["buyer"].n_unique()
        shared = pairs["anonymous"].n_unique() - buyer_of.height
        checks.notes.append(
            f"{count:,} anonymous ids are joined with the buyer that they became"
            + (f"; {shared:,} stand beside several buyers and stay apart" if shared else "")
        )
        return events.with_columns(joined.alias("buyer"))
