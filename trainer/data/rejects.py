"""Rows that cannot be used: counted by reason, written to rejects.csv."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from trainer.errors import DataError
from twotower.events import (
    MAX_ID_BYTES,
)

REJECT_COLUMNS = ("file", "line", "column", "value", "reason")


@dataclass(frozen=True)
class Summary:
    """What was read: rows per table, and rejected or mended rows by reason."""

    event_rows: int = 0
    product_rows: int = 0
    rejected_events: dict[str, int] = field(default_factory=dict)
    rejected_products: dict[str, int] = field(default_factory=dict)


class Reject(NamedTuple):
    """One row that could not be used, or not wholly."""

    file: str
    line: int
    column: str
    value: str
    reason: str


@dataclass(frozen=True)
class Check:
    """A reason to reject a row: where `when` holds, `column` of the file is to blame."""

    reason: str
    ours: str
    when: pl.Expr


def unreadable(files: Sequence[Path], error: Exception) -> DataError:
    first = str(error).strip().split("\n", 1)[0]
    return DataError(f"{', '.join(map(str, files[:3]))}: cannot be read ({first})")


def id_checks(ours: str, column: pl.Expr) -> list[Check]:
    return [
        Check(f"missing {ours} id" if ours != "id" else "missing product id", ours, column.fill_null("") == ""),
        Check(f"id longer than {MAX_ID_BYTES} bytes", ours, column.str.len_bytes() > MAX_ID_BYTES),
        Check("id with control characters", ours, column.str.contains(r"[\x00-\x1f\x7f]")),
    ]


def problem(checks: Sequence[Check], names: Mapping[str, str]) -> list[pl.Expr]:
    """The first check that holds, as columns reason, column and value."""

    def pick(then: Callable[[Check], pl.Expr]) -> pl.Expr:
        return pl.coalesce(*(pl.when(check.when).then(then(check)) for check in checks))

    return [
        pick(lambda check: pl.lit(check.reason)).alias("reason"),
        pick(lambda check: pl.lit(names[check.ours])).alias("column"),
        pick(lambda check: pl.col(check.ours).fill_null("").str.slice(0, 200)).alias("value"),
    ]


def reject_rows(writer: Any, counts: Counter[str], reject: Reject) -> None:
    counts[reject.reason] += 1
    writer.writerow(reject)


def stop_above(limit: float, table: str, rows: int, counts: Counter[str], rejects: Path) -> None:
    rejected = sum(counts.values())
    if rejected <= limit * rows:
        return
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in counts.most_common(3))
    raise DataError(
        f"{rejected:,} of {rows:,} rows of {table} ({rejected / rows:.1%}) were rejected, the limit is {limit:.1%} "
        f"(data.max_reject_share): {reasons}; look at {rejects}"
    )
