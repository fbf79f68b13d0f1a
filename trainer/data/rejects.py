"""Rows that cannot be used: checked, counted by reason, and written to rejects.csv."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from trainer.errors import DataError
from twotower.events import MAX_ID_BYTES

REJECT_COLUMNS = ("file", "line", "column", "value", "reason")


@dataclass(frozen=True)
class Summary:
    """What was read: rows per table, rejected or repaired rows by reason, and events too old to count."""

    event_rows: int = 0
    product_rows: int = 0
    rejected_events: dict[str, int] = field(default_factory=dict)
    rejected_products: dict[str, int] = field(default_factory=dict)
    older_events: int = 0


class Reject(NamedTuple):
    """One row that cannot be used, or only in part."""

    file: str
    line: int
    column: str
    value: str
    reason: str


class RejectFile:
    """A rejects.csv that is open for writing."""

    def __init__(self, path: Path, writer: Any) -> None:
        self.path = path
        self._writer = writer

    def write(self, reject: Reject) -> None:
        self._writer.writerow(reject)


@contextmanager
def open_rejects(path: Path) -> Iterator[RejectFile]:
    """Creates rejects.csv with its header."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(REJECT_COLUMNS)
        yield RejectFile(path, writer)


class RowChecks:
    """The rows of one table that were read, and its rejects by reason."""

    def __init__(self, table: str, file: RejectFile) -> None:
        self.table = table
        self.rows = 0
        self.rejected: Counter[str] = Counter()
        self.path = file.path
        self._file = file

    def reject(self, reject: Reject) -> None:
        self.rejected[reject.reason] += 1
        self._file.write(reject)

    def check_share(self, limit: float) -> None:
        """Raises DataError if more than this share of the rows was rejected."""
        rejected = self.rejected.total()
        if rejected <= limit * self.rows:
            return
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in self.rejected.most_common(3))
        raise DataError(
            f"{rejected:,} of {self.rows:,} rows of {self.table} ({rejected / self.rows:.1%}) were rejected, the limit "
            f"is {limit:.1%} (data.max_reject_share): {reasons}; look at {self.path}"
        )


@dataclass(frozen=True)
class Check:
    """A reason to reject a row if `when` is true; `ours` is our name of the column at fault."""

    reason: str
    ours: str
    when: pl.Expr


def id_checks(ours: str, column: pl.Expr) -> list[Check]:
    return [
        Check(f"missing {ours} id" if ours != "id" else "missing product id", ours, column.fill_null("") == ""),
        Check(f"id longer than {MAX_ID_BYTES} bytes", ours, column.str.len_bytes() > MAX_ID_BYTES),
        Check("id with control characters", ours, column.str.contains(r"[\x00-\x1f\x7f]")),
    ]


def first_problem(checks: Sequence[Check], names: Mapping[str, str]) -> list[pl.Expr]:
    """Columns `reason`, `column` and `value` of the first check that a row fails; null if it fails none.

    `names` maps our names of columns to those of the files.
    """

    def pick(then: Callable[[Check], pl.Expr]) -> pl.Expr:
        return pl.coalesce(*(pl.when(check.when).then(then(check)) for check in checks))

    return [
        pick(lambda check: pl.lit(check.reason)).alias("reason"),
        pick(lambda check: pl.lit(names[check.ours])).alias("column"),
        pick(lambda check: pl.col(check.ours).fill_null("").str.slice(0, 200)).alias("value"),
    ]
