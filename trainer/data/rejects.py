"""Rows that cannot be used: checked, counted by reason, and written to rejects.csv."""

from __future__ import annotations

import csv
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import polars as pl

from trainer.data.fields import is_missing
from trainer.errors import DataError
from twotower.events import MAX_ID_BYTES

log = logging.getLogger(__name__)
Value = TypeVar("Value")
UNKNOWN_PRODUCT = "product is not in the catalogue"
# of values that cannot be used
_EXAMPLES = 3
REJECT_COLUMNS = ("file", "line", "column", "value", "reason")


@dataclass
class FieldCount:
    """How many products have a field, how many have a value that cannot be used, and three of these."""

    found: int = 0
    unusable: int = 0
    examples: list[str] = field(default_factory=list)

    def read(self, value: Any, reader: Callable[[Any], Value | None]) -> Value | None:
        """What `reader` makes of a value, counted; None if it raises ValueError."""
        try:
            read = reader(value)
        except ValueError:
            self.unusable += 1
            if len(self.examples) < _EXAMPLES and (shown := str(value)[:60]) not in self.examples:
                self.examples.append(shown)
            return None
        self.found += not is_missing(read)
        return read


@dataclass(frozen=True)
class Summary:
    """What was read: rows per table, rejected or repaired rows by reason, harmless rows that were left out, what the
    products' fields hold, and events too old to count."""

    event_rows: int = 0
    product_rows: int = 0
    rejected_events: dict[str, int] = field(default_factory=dict)
    rejected_products: dict[str, int] = field(default_factory=dict)
    dropped_events: dict[str, int] = field(default_factory=dict)
    fields: dict[str, dict[str, Any]] = field(default_factory=dict)
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
    """The rows of one table that were read, its rejects by reason, and what was left out without harm.

    `fields` counts the products' fields; `paths` are the fields that the metadata of any product has.
    """

    def __init__(self, table: str, file: RejectFile) -> None:
        self.table = table
        self.rows = 0
        self.rejected: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self.fields: dict[str, FieldCount] = defaultdict(FieldCount)
        self.paths: set[str] = set()
        self.hints: list[str] = []
        self.path = file.path
        self._file = file

    def reject(self, reject: Reject) -> None:
        self.rejected[reject.reason] += 1
        self._file.write(reject)

    def note_paths(self, names: Iterable[str]) -> None:
        self.paths.update(names)

    def check_share(self, limit: float, unknown_limit: float = 1.0) -> None:
        """Raises DataError if more than this share of the rows was rejected, or is of unknown products."""
        unknown = self.rejected[UNKNOWN_PRODUCT]
        others = Counter({reason: count for reason, count in self.rejected.items() if reason != UNKNOWN_PRODUCT})
        self._check(others, limit, "data.max_reject_share")
        self._check(Counter({UNKNOWN_PRODUCT: unknown}), unknown_limit, "data.max_unknown_share")

    def _check(self, counts: Counter[str], limit: float, setting: str) -> None:
        rejected = counts.total()
        if rejected <= limit * self.rows:
            return
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in counts.most_common(3))
        raise DataError(
            f"{rejected:,} of {self.rows:,} rows of {self.table} ({rejected / self.rows:.1%}) were rejected, the limit "
            f"is {limit:.1%} ({setting}): {'; '.join([reasons, *self.hints])}; look at {self.path}"
        )

    def field_facts(self) -> dict[str, dict[str, Any]]:
        return {name: asdict(count) for name, count in self.fields.items()}

    def log_fields(self, products: int) -> None:
        """Says how many products have each field, and warns of values that cannot be used."""
        shown = ", ".join(f"{name} {count.found:,}" for name, count in self.fields.items())
        log.info(f"of {products:,} products have: {shown}")
        for name, count in self.fields.items():
            if count.unusable:
                examples = ", ".join(map(repr, count.examples))
                log.warning(f"{count.unusable:,} products have a value of {name} that cannot be used, as {examples}")
        if missing := products - self.fields["title"].found:
            log.warning(f"{missing:,} of {products:,} products have no title")


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
        Check(
            "id is a spreadsheet's short form of a long number",
            ours,
            column.str.contains(r"^[0-9](\.[0-9]+)?E\+[0-9]+$"),
        ),
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
