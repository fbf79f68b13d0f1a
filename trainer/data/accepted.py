"""The accepted events while they are being read: columns of small numbers, in parts of a bounded number of events."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import polars as pl

from trainer.data.rejects import RowChecks
from trainer.data.visitors import Visitors
from twotower.arrays import Int64

# events of one part, as far as whole buyers allow: what is sorted at once
PART_EVENTS = 2_000_000
_COLUMNS = {"buyer": pl.Int32, "row": pl.Int32, "kind": pl.Int8, "ms": pl.Int64}


class Accepted(NamedTuple):
    """The accepted events, each once.

    `buyers`: the ids, sorted. A part has all events of a range of buyers, in the order of the files, with columns
    `buyer` (Int32, place in `buyers`), `row` of the product, code of the `kind`, `ms`; where any event has one,
    `query`: the words of the search that led to it. The ranges of the parts rise.
    """

    buyers: pl.Series
    parts: list[pl.DataFrame]

    @property
    def height(self) -> int:
        return sum(part.height for part in self.parts)


class AcceptedRows:
    """Gathers accepted rows batch by batch; an id of a buyer is kept once, whatever the number of events."""

    def __init__(self) -> None:
        self.height = self.batches = 0
        self._codes: dict[str, int] = {}
        self._batches: list[pl.DataFrame] = []

    def add(self, rows: pl.DataFrame) -> None:
        """Takes a batch: `buyer` as text, `row`, `kind`, `ms` and any `query`."""
        self.batches += 1
        self.height += rows.height
        if not rows.height:
            return
        ids = rows["buyer"].unique()
        codes = [self._codes.setdefault(one, len(self._codes)) for one in ids]
        coded = rows["buyer"].replace_strict(ids, codes, return_dtype=pl.Int32)
        self._batches.append(rows.with_columns(buyer=coded))

    def finish(self, visitors: Visitors, checks: RowChecks) -> Accepted:
        """All rows in parts; those of a visitor as the buyer's, repeated ones counted and left out. Empties this."""
        seen = pl.DataFrame({"buyer": pl.Series(list(self._codes), dtype=pl.String)})
        self._codes.clear()
        joined = visitors.join(seen, checks)["buyer"]
        buyers = joined.unique().sort()
        place = joined.cast(pl.Enum(buyers)).to_physical().cast(pl.Int32)
        sizes = np.zeros(len(buyers), np.int64)
        for at, batch in enumerate(self._batches):
            self._batches[at] = batch.with_columns(buyer=place.gather(batch["buyer"]))
            sizes += np.bincount(self._batches[at]["buyer"].to_numpy(), minlength=len(buyers))
        rows = pl.concat([pl.DataFrame(schema=_COLUMNS), *self._batches], how="diagonal", rechunk=False)
        self._batches.clear()
        parts = [_once(rows.filter(pl.col("buyer").is_between(*part))) for part in _ranges(sizes, PART_EVENTS)]
        accepted = Accepted(buyers, parts)
        if again := rows.height - accepted.height:
            checks.dropped["exact duplicate"] += again
        return accepted


def _ranges(sizes: Int64, part_events: int) -> list[tuple[int, int]]:
    """First and last buyer of each part, of buyers with so many events [buyers]."""
    stops = np.cumsum(sizes)
    ranges, first = [], 0
    while first < len(sizes):
        before = int(stops[first - 1]) if first else 0
        last = max(first, int(np.searchsorted(stops, before + part_events, side="right")) - 1)
        ranges.append((first, last))
        first = last + 1
    return ranges


def _once(rows: pl.DataFrame) -> pl.DataFrame:
    """Each event once: nothing is wrong with a log that repeats one, as one whose times are days does."""
    return rows.unique(["buyer", "row", "kind", "ms"], keep="first", maintain_order=True)
