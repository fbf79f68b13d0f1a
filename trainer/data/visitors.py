"""Visitors who were anonymous and logged in later: one buyer, where a row names both ids."""

from __future__ import annotations

import polars as pl

from trainer.data.rejects import RowChecks


def visitor_pairs(rows: pl.DataFrame) -> pl.DataFrame:
    """The pairs `anonymous`, `buyer` that stand in one of the rows; none if the settings name no anonymous ids."""
    if "anonymous" not in rows.columns:
        return pl.DataFrame()
    other = pl.col("anonymous").fill_null("")
    is_pair = pl.col("named") & (other != "") & (other != pl.col("buyer"))
    return rows.filter(is_pair).select("anonymous", "buyer").unique(maintain_order=True)


class Visitors:
    """The pairs of an anonymous id and a buyer that stand in one row, of events of any name."""

    def __init__(self) -> None:
        self._pairs: list[pl.DataFrame] = []

    def add(self, pairs: pl.DataFrame) -> None:
        """Remembers pairs of `visitor_pairs`."""
        if pairs.height:
            self._pairs.append(pairs)

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
